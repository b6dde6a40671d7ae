"""A report on one server of a fleet, at one moment."""

from dataclasses import dataclass
from typing import Literal

from vllm_omni_client.errors import OmniError

from vllm_image_core.errors import ImageError
from vllm_image_core.servers.circuit import CircuitState

__all__ = ["MemberReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberReport:
    """What is known of one server of a fleet.

    Attributes:
        url: Its base URL, without credentials.
        state: "closed": it gets work; "open": it is out, and asked for its health; "trial": it is let in
            again; "unknown": it was not asked yet.
        model: The model that it serves; None while it has not told it.
        version: Its version, likewise.
        under_way: How many requests it has now.
        limit: How many it may have.
        parallel: How many it works on at the same time, as it told; None while it has not.
        others: How many requests of others it had when it was asked last, running and waiting; None where it
            does not tell.
        done: How many it answered.
        failed: How many it failed at.
        error: Why it is out; None when it is not.
        note: In what it differs from the others; "" when it does not.
    """

    url: str
    state: CircuitState | Literal["unknown"]
    model: str | None
    version: str | None
    under_way: int
    limit: int
    parallel: int | None
    others: int | None
    done: int
    failed: int
    error: OmniError | ImageError | None
    note: str
