"""A verdict: what an error tells of the server that raised it, and whether another one may be asked."""

from dataclasses import dataclass
from typing import Final, Literal

from vllm_omni_client.errors import (
    BadReply,
    BadRequest,
    ConnectionLost,
    EngineDead,
    NotFound,
    OmniError,
    OutOfGpuMemory,
    RequestTimeout,
    ServerBusy,
    ServerError,
    ServerUnreachable,
    Unauthorized,
    UnsupportedParameter,
)

from vllm_image_core.errors import BadPicture, ImageError

__all__ = ["Verdict", "verdict_on"]

Fault = Literal["none", "charged", "doubtful", "lost", "certain", "busy", "rubbish"]
"""What is held against the server.

none: nothing; charged: a failure, once another server has done the same request; doubtful: a failure;
lost: it may have died; certain: it cannot work; busy: it has no room now; rubbish: a wrong answer.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an error means in a fleet.

    Attributes:
        fault: What is held against the server.
        elsewhere: Whether another server may do better.
        costly: Whether GPU time may have been paid for; such a request is not repeated without end.
        deadly: Whether an engine died, perhaps on this very request.
        shared: Whether it is the request's own fault when a second server says the same.
        changed: Whether the server may have another model than before, which would explain it.
    """

    fault: Fault
    elsewhere: bool = True
    costly: bool = False
    deadly: bool = False
    shared: bool = False
    changed: bool = False


_UNREACHABLE: Final = Verdict(fault="certain")
_DEAD: Final = Verdict(fault="certain", costly=True, deadly=True)
_BUSY: Final = Verdict(fault="busy")
_NEVER_SENT: Final = Verdict(fault="doubtful")
_UNKNOWN: Final = Verdict(fault="doubtful", costly=True)
_LOST: Final = Verdict(fault="lost", costly=True, deadly=True)
_RUBBISH: Final = Verdict(fault="rubbish", costly=True)
_TOO_LARGE: Final = Verdict(fault="none", costly=True, shared=True)
_FAILED: Final = Verdict(fault="charged", costly=True, shared=True)
_SHUT: Final = Verdict(fault="certain")
_NOT_THERE: Final = Verdict(fault="none", shared=True)
_REFUSED: Final = Verdict(fault="none", elsewhere=False, changed=True)
_WRONG: Final = Verdict(fault="none", elsewhere=False)


_BY_CLASS: Final[tuple[tuple[type[OmniError] | type[ImageError], Verdict], ...]] = (
    (ServerUnreachable, _UNREACHABLE),
    (EngineDead, _DEAD),
    (ServerBusy, _BUSY),
    (ConnectionLost, _LOST),
    (RequestTimeout, _UNKNOWN),
    (BadReply, _RUBBISH),
    (BadPicture, _RUBBISH),
    (OutOfGpuMemory, _TOO_LARGE),
    (ServerError, _FAILED),
    (Unauthorized, _SHUT),
    (NotFound, _SHUT),
    (UnsupportedParameter, _NOT_THERE),
    (BadRequest, _REFUSED),
)
"""The first class that fits decides: those before their own parents."""


def verdict_on(error: OmniError | ImageError) -> Verdict:
    """Say what an error means in a fleet of several servers."""
    if isinstance(error, ConnectionLost | RequestTimeout) and error.gpu_spent == "no":
        return _NEVER_SENT
    return next((verdict for kind, verdict in _BY_CLASS if isinstance(error, kind)), _WRONG)
