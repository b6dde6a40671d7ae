"""Cache a server's capabilities, and expire them when the server may have changed."""

from collections.abc import Callable
from typing import Final

from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.errors import BadRequest, ConnectionLost, NotFound, OmniError, ServerUnreachable

_VALID_SECONDS: Final = 300.0
_UNKNOWN_SECONDS: Final = 10.0
# After these errors, a different server may be behind the address.
_CHANGE_SIGNS: Final = (ServerUnreachable, ConnectionLost, BadRequest, NotFound)


class KnownServer:
    """The cached capabilities of one server.

    They are valid for 300 seconds; after that, an unchanged version renews them. A failure to learn them is
    cached for 10 seconds. `fixed` ones, given by the caller, never expire.
    """

    def __init__(self, clock: Callable[[], float], fixed: Capabilities | None = None) -> None:
        self._clock = clock
        self._fixed = fixed
        self._learnt: Capabilities | None = None
        self._until = 0.0

    @property
    def current(self) -> Capabilities | None:
        """The capabilities; None if the server must be asked."""
        if self._fixed is not None:
            return self._fixed
        return self._learnt if self._clock() < self._until else None

    def learn(self, capabilities: Capabilities) -> Capabilities:
        """Cache the capabilities that the server reported, and return them."""
        unknown = capabilities.source == "unknown"
        self._learnt = capabilities
        self._until = self._clock() + (_UNKNOWN_SECONDS if unknown else _VALID_SECONDS)
        return capabilities

    def renew(self, version: str | None) -> Capabilities | None:
        """Renew and return the cached capabilities if the server's version has not changed."""
        learnt = self._learnt
        if learnt is None or learnt.source == "unknown" or version is None or learnt.version != version:
            return None
        return self.learn(learnt)

    def note_version(self, version: str) -> None:
        """Drop the cached capabilities if a version from another call differs: the server has changed."""
        if self._learnt is not None and self._learnt.version != version:
            self._learnt = None
            self._until = self._clock()

    def expire_after(self, error: OmniError) -> None:
        """Expire the cache after an error that a different server at this address would explain."""
        if isinstance(error, _CHANGE_SIGNS) and self._learnt is not None and self._learnt.source != "unknown":
            self._until = self._clock()
