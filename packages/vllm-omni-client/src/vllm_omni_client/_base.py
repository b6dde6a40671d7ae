"""Hold the state that both clients share: settings, call flows and what is known about the server."""

from vllm_omni_client._protocol.connection_settings import ConnectionSettings
from vllm_omni_client._protocol.flows import Flows
from vllm_omni_client._protocol.known_server import KnownServer
from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.errors import ConnectionLost, InvalidParameter
from vllm_omni_client.replies import ImageGenerationReply
from vllm_omni_client.saved import SavedImage


class BaseClient:
    """A client's state that does not depend on how it does I/O.

    Attributes:
        base_url: The server's address, without a trailing slash, `/v1` or user name.
    """

    def __init__(
        self, connection: ConnectionSettings, *, strict: bool, capabilities: Capabilities | None
    ) -> None:
        self.base_url: str = connection.base_url
        self._connection = connection
        self._strict = strict
        self._server = KnownServer(connection.clock, capabilities)
        self._flows = Flows(connection, self._server)

    def __repr__(self) -> str:
        # A client whose arguments were refused has no address, but a traceback that shows locals asks for
        # its repr.
        return f"{type(self).__name__}({getattr(self, 'base_url', None)!r})"


def require_open(*, closed: bool) -> None:
    """Refuse to use a closed client.

    Raises:
        InvalidParameter: It is closed.
    """
    if closed:
        raise InvalidParameter("this client is closed; create a new one")


def closed_error() -> ConnectionLost:
    """Return the error of a call that was in progress when its client was closed."""
    return ConnectionLost("this client was closed while the call was in progress")


def in_memory(reply: ImageGenerationReply | SavedImage) -> ImageGenerationReply:
    """Return a reply that was not saved to a file, as none was given."""
    if isinstance(reply, SavedImage):
        raise TypeError("the image was saved to a file, which was not requested")
    return reply
