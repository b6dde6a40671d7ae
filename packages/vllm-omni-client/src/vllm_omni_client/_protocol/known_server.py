"""KnownServer: what a client has learnt of its server, and for how long it believes it."""

from collections.abc import Callable
from typing import Final

from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.errors import BadRequest, ConnectionLost, NotFound, OmniError, ServerUnreachable

_BELIEVED_SECONDS: Final = 300.0
_UNKNOWN_SECONDS: Final = 10.0
# After these, another server may be behind the address.
_DOUBTS: Final = (ServerUnreachable, ConnectionLost, BadRequest, NotFound)


class KnownServer:
    """The capabilities of a server, learnt once.

    What was learnt is believed for 300 seconds; then a version that is still the same renews it. That
    nothing could be learnt is believed for 10.

    Args:
        clock: Seconds on a clock that never goes back.
        fixed: Capabilities that the caller told; they are believed for good.
    """

    def __init__(self, clock: Callable[[], float], fixed: Capabilities | None = None) -> None:
        self._clock = clock
        self._fixed = fixed
        self._learnt: Capabilities | None = None
        self._until = 0.0

    @property
    def current(self) -> Capabilities | None:
        """What is known; None when it has to be asked for."""
        if self._fixed is not None:
            return self._fixed
        return self._learnt if self._clock() < self._until else None

    def learn(self, capabilities: Capabilities) -> Capabilities:
        """Believe what the server told, and return it."""
        unknown = capabilities.source == "unknown"
        self._learnt = capabilities
        self._until = self._clock() + (_UNKNOWN_SECONDS if unknown else _BELIEVED_SECONDS)
        return capabilities

    def renew(self, version: str | None) -> Capabilities | None:
        """Return what was learnt before, believed anew, if the server is still of the same version."""
        learnt = self._learnt
        if learnt is None or learnt.source == "unknown" or version is None or learnt.version != version:
            return None
        return self.learn(learnt)

    def note_version(self, version: str) -> None:
        """Take in a version that was asked for in passing: another one means another server."""
        if self._learnt is not None and self._learnt.version != version:
            self._learnt = None
            self._until = self._clock()

    def doubt(self, error: OmniError) -> None:
        """Ask for the version again after an error that another server at this address would explain."""
        if isinstance(error, _DOUBTS) and self._learnt is not None and self._learnt.source != "unknown":
            self._until = self._clock()
