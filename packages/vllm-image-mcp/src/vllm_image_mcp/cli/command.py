"""Run a command's coroutine with its own state, and exit with the status that it returns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from vllm_image_mcp.startup import report_errors
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vllm_image_mcp.settings import Settings

INTERRUPTED = 130
"""The exit status after Ctrl-C, as in shells: 128 plus the signal's number."""


def run(settings: Settings, job: Callable[[State], Coroutine[None, None, int]]) -> None:
    """Run a job and exit with its status; an expected error is printed on stderr, with status 1."""

    async def run_and_close() -> int:
        state = State(settings, at_shell=True)
        try:
            return await job(state)
        finally:
            await state.aclose()

    with report_errors():
        try:
            status = asyncio.run(run_and_close())
        except KeyboardInterrupt:
            status = INTERRUPTED
    if status:
        raise SystemExit(status)
