"""A command: its job with a state of its own, and its expected failures as sentences."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from vllm_image_core.errors import ImageError
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.messages import told
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from vllm_image_mcp.settings import Settings

__all__ = ["INTERRUPTED", "run", "told_as_a_sentence"]

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

    with told_as_a_sentence():
        try:
            status = asyncio.run(whole())
        except KeyboardInterrupt:
            status = INTERRUPTED
    if status:
        raise SystemExit(status)


@contextmanager
def told_as_a_sentence() -> Generator[None]:
    """Turn expected failures into a line on stderr."""
    try:
        yield
    except (ImageError, OmniError) as error:
        raise click.ClickException(told(error)) from error
