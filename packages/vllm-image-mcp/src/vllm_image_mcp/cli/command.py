"""A command: its job with a state of its own, and its expected failures as sentences."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from vllm_image_mcp.startup import errors_as_sentences
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vllm_image_mcp.settings import Settings

__all__ = ["INTERRUPTED", "run"]

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it: 128 and the signal's number."""


def run(settings: Settings, job: Callable[[State], Coroutine[None, None, int]]) -> None:
    """Do a job, and leave with its exit status; an expected failure becomes a line on stderr and status 1."""

    async def whole() -> int:
        state = State(settings, at_shell=True)
        try:
            return await job(state)
        finally:
            await state.aclose()

    with errors_as_sentences():
        try:
            status = asyncio.run(whole())
        except KeyboardInterrupt:
            status = INTERRUPTED
    if status:
        raise SystemExit(status)
