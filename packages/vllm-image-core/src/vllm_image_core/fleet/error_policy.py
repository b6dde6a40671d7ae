"""A verdict: what an error tells of the server that raised it, and whether another one may be asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from vllm_omni_client.errors import BadRequest, OmniError, ServerState

from vllm_image_core.errors import BadPicture, ImageError

__all__ = ["ErrorPolicy", "policy_for"]

Fault = Literal["none", "suspect", "doubtful", "lost", "down", "busy", "bad_reply"]
"""What is held against the server.

none: nothing; suspect: a failure, once another server has done the same request; doubtful: a failure;
lost: it may have died; down: it cannot work; busy: it has no room now; bad_reply: a wrong answer.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPolicy:
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


_FAULTS: Final[Mapping[ServerState, Fault]] = {
    "healthy": "none",
    "unsupported": "none",
    "busy": "busy",
    "unavailable": "down",
    "dead": "down",
    "disconnected": "lost",
    "timed_out": "doubtful",
    "failing": "suspect",
    "bad_reply": "bad_reply",
}
_NOT_A_PICTURE: Final = ErrorPolicy(fault="bad_reply", costly=True)
_WRONG: Final = ErrorPolicy(fault="none", elsewhere=False)


def policy_for(error: OmniError | ImageError) -> ErrorPolicy:
    """Say what an error means in a fleet of several servers.

    It follows from what the error itself says of the work and of the server; see `vllm_omni_client.errors`.
    """
    if not isinstance(error, OmniError):
        return _NOT_A_PICTURE if isinstance(error, BadPicture) else _WRONG
    state = error.server_state
    certain = error.outcome != "never_sent" or state == "unavailable"
    return ErrorPolicy(
        fault=_fault(error) if certain else "doubtful",
        elsewhere=error.outcome != "final" or state in {"unavailable", "unsupported"},
        costly=may_have_cost(error),
        deadly=certain and state in {"dead", "disconnected"},
        shared=state in {"failing", "unsupported"},
        changed=isinstance(error, BadRequest),
    )


def may_have_cost(error: OmniError) -> bool:
    """Say whether the last attempt may have cost GPU time, whatever those before it did."""
    return error.outcome in {"unknown", "failed"} or (error.outcome == "final" and error.gpu_spent != "no")


def _fault(error: OmniError) -> Fault:
    if error.server_state == "unavailable" and error.outcome == "unknown":
        return "lost"  # a proxy got no answer; whether the server behind it is there, its health will tell
    return _FAULTS[error.server_state]
