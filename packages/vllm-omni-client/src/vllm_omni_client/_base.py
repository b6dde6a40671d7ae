"""Hold the state that both clients share: settings, call flows and what is known about the server."""

import copy
from collections.abc import Mapping
from typing import Self

from pydantic import SecretStr

from vllm_omni_client._arguments import CallOptions
from vllm_omni_client._protocol.connection_settings import ConnectionSettings
from vllm_omni_client._protocol.flows import Flows
from vllm_omni_client._protocol.headers import as_secrets
from vllm_omni_client._protocol.known_server import KnownServer
from vllm_omni_client._protocol.secret import as_secret
from vllm_omni_client.capabilities import Capabilities
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

    def with_options(
        self,
        *,
        api_key: str | SecretStr | None = None,
        headers: Mapping[str, str | SecretStr] | None = None,
        timeout: float | None = None,
        read_timeout: float | None = None,
        max_retries: int | None = None,
        strict: bool | None = None,
    ) -> Self:
        """Return a copy of this client with other settings; None keeps one.

        It shares the connections, the slots and what is known about the server. Closing one closes both.

        Args:
            api_key: Another key.
            headers: Headers to send in addition to the client's own, or instead of those of the same name.
            timeout: Total deadline of a generation in seconds; shorter than 30, it also limits other calls.
            read_timeout: Longest time without a byte from the server, in seconds.
            max_retries: Attempts after the first one, 0 to 100.
            strict: Whether a field that this server would silently ignore is an error.

        Raises:
            InvalidParameter: A value cannot be used.
        """
        api_key, headers = as_secret(api_key), as_secrets(headers)
        connection = self._connection.with_options(
            api_key=api_key,
            headers=headers,
            timeout=timeout,
            read_timeout=read_timeout,
            max_retries=max_retries,
        )
        return self._with(connection, strict=self._strict if strict is None else strict)

    def _for_call(self, options: CallOptions) -> Self:
        """Return this client with the options of one call."""
        if not options:
            return self
        connection = self._connection.with_options(
            headers=as_secrets(options.pop("extra_headers", None)),
            timeout=options.get("timeout"),
            max_retries=options.get("max_retries"),
            parameter="extra_headers",
        )
        return self._with(connection, strict=self._strict)

    def _with(self, connection: ConnectionSettings, *, strict: bool) -> Self:
        other = copy.copy(self)
        other._connection = connection  # noqa: SLF001  # of its own class
        other._flows = Flows(connection, self._server)  # noqa: SLF001  # of its own class
        other._strict = strict  # noqa: SLF001  # of its own class
        return other

    def __repr__(self) -> str:
        # A client whose arguments were refused has no address, but a traceback that shows locals asks for
        # its repr.
        return f"{type(self).__name__}({getattr(self, 'base_url', None)!r})"


def in_memory(reply: ImageGenerationReply | SavedImage) -> ImageGenerationReply:
    """Return a reply that was not saved to a file, as none was given."""
    if isinstance(reply, SavedImage):
        raise TypeError("the image was saved to a file, which was not requested")
    return reply
