"""Run a command's coroutine with its own state, and exit with the status that it returns."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from vllm_image_mcp.options import with_settings
from vllm_image_mcp.startup import report_errors, start_logging
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vllm_image_mcp.settings import Settings

INTERRUPTED = 130
"""The exit status after Ctrl-C, as in shells: 128 plus the signal's number."""


def with_state(command: Callable[..., Coroutine[None, None, int]]) -> Callable[..., None]:
    """Add the shared options to a command, pass it the state they make, and exit with its status.

    An expected error is printed on stderr, with status 1.
    """

    @with_settings
    @functools.wraps(command)
    def run(settings: Settings, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as click passes them
        start_logging(settings)  # the level may be given after the command's name

        async def run_and_close() -> int:
            state = State(settings, at_shell=True)
            try:
                return await command(state, *args, **kwargs)
            finally:
                await state.aclose()

        with report_errors():
            try:
                status = asyncio.run(run_and_close())
            except KeyboardInterrupt:
                status = INTERRUPTED
        if status:
            raise SystemExit(status)

    return run
