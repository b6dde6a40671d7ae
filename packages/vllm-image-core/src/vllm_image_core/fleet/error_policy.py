"""Decide what an error means for its server, and whether another server may try the request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from vllm_omni_client.errors import BadRequest, OmniError, ServerState

from vllm_image_core.errors import BadPicture, ImageError

Fault = Literal["none", "suspect", "doubtful", "lost", "down", "busy", "bad_reply"]
"""What counts against the server.

none: nothing; suspect: a failure, if another server then does the same request; doubtful: a failure;
lost: it may have died; down: it cannot work; busy: it has no room now; bad_reply: it sent a wrong answer.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPolicy:
    """What an error means in a fleet.

    Attributes:
        fault: What counts against the server.
        elsewhere: Whether another server may succeed.
        costly: Whether GPU time may have been spent; such a request is repeated only within its budget.
        deadly: Whether an engine died, perhaps because of this request.
        shared: Whether the request is at fault if a second server raises the same error.
        changed: Whether the error may mean that the server now has another model.
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
    """Return what an error means in a fleet of several servers.

    It follows from the outcome and the server state of the error; see `vllm_omni_client.errors`.
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
    """Return whether the last attempt may have cost GPU time, regardless of earlier attempts."""
    return error.outcome in {"unknown", "failed"} or (error.outcome == "final" and error.gpu_spent != "no")


def _fault(error: OmniError) -> Fault:
    if error.server_state == "unavailable" and error.outcome == "unknown":
        return "lost"  # a proxy got no answer; a health check shows whether the server behind it is up
    return _FAULTS[error.server_state]
