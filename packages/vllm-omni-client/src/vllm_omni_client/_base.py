"""Caller: what both clients have, and how they show themselves."""

from vllm_omni_client._protocol.connection_settings import ConnectionSettings
from vllm_omni_client._protocol.flows import Flows
from vllm_omni_client._protocol.known_server import KnownServer
from vllm_omni_client.capabilities import Capabilities


class Caller:
    """Where the server is, what is known of it, and what calls of it do.

    Args:
        connection: Where it is, and what is allowed.
        strict: Whether a field that it would ignore in silence is an error.
        capabilities: What it can do, for a caller who knows.

    Attributes:
        base_url: The server's address, without a slash, a `/v1` or a user name.
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
        # One whose arguments were refused has no address; a traceback that shows locals asks for its repr.
        return f"{type(self).__name__}({getattr(self, 'base_url', None)!r})"
