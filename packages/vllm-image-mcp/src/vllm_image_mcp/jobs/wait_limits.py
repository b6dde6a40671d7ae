"""Decide how long a call waits before it returns `running`: as asked, configured, or safe for its host."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mcp.server.mcpserver import Context
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import brief

if TYPE_CHECKING:
    from vllm_image_mcp.state import State


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a message arrived, in seconds by ``time.monotonic``."""

    at: float


USUAL_SECONDS: Final = 45.0
"""Hosts that time out a call do so after 60 s or later, which is the limit in the SDK most of them use."""

_KEPT_ALIVE: Final = {"claude-code": 600.0}
"""Hosts that keep waiting while progress arrives, by the name that they give themselves.

Claude Code 2.1 ends a call after 30 minutes without a message; each progress message restarts that time.
"""

_MOST: Final = 86_400.0


def answer_deadline(ctx: Context[State], asked: object) -> float:
    """When this call has to answer, by the event loop's clock; the wait counts from the call's arrival."""
    seconds = wait_seconds(ctx, asked)
    arrival = ctx.request_context.request
    spent = time.monotonic() - arrival.at if isinstance(arrival, Arrival) else 0.0
    return asyncio.get_running_loop().time() + seconds - spent


def wait_seconds(ctx: Context[State], asked: object) -> float:
    """Seconds that this call may wait: as asked, as set by ``--max-wait``, or as its host allows."""
    if asked is not None:
        return _check(asked)
    usual = ctx.request_context.lifespan_context.settings.max_wait
    if usual is not None:
        return usual
    client = ctx.session.client_params
    # The longer limits need the host's request for progress, which keeps a call alive.
    if client is None or "progress_token" not in (ctx.request_context.meta or {}):
        return USUAL_SECONDS
    return _KEPT_ALIVE.get(client.client_info.name, USUAL_SECONDS)


def _check(asked: object) -> float:
    if isinstance(asked, int | float) and not isinstance(asked, bool) and 0 <= asked <= _MOST:
        return float(asked)
    allowed = f"a number of seconds from 0 to {_MOST:g}"
    raise InvalidRequest(
        f"max_wait: {brief(asked)} is not a valid time. Use {allowed}.",
        parameter="max_wait",
        value=asked,
        allowed=allowed,
    )
