"""Notebook cells: stop a cell's batch when the cell runs again, and say what an interrupt leaves running."""

import asyncio
import sys
from collections.abc import Callable, Generator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from vllm_image_core.batches.handle import ImageBatch

_ATTRIBUTE: Final = "_vllm_image_batches"
"""Where IPython's shell keeps the batches that each cell has started."""


@dataclass(frozen=True, slots=True)
class CellRun:
    """One run of a notebook's cell.

    Attributes:
        id: The id of this run.
        started: The batches that runs of this cell have started: the id of the run, and the event loop.
    """

    id: str
    started: "MutableMapping[ImageBatch, tuple[str, asyncio.AbstractEventLoop]]"

    @classmethod
    def current(cls) -> Self | None:
        """Return the run in progress; None outside notebooks, and in those that do not name their cells."""
        ipython = sys.modules.get("IPython")
        shell: Any = None if ipython is None else ipython.get_ipython()
        if not hasattr(shell, "get_parent"):
            return None
        parent = shell.get_parent()
        cell, run = parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")
        if not cell or not run:
            return None
        cells = shell.__dict__.setdefault(_ATTRIBUTE, {})
        return cls(str(run), cells.setdefault(cell, WeakKeyDictionary()))

    async def begin(self, batch: "ImageBatch") -> None:
        """Close the batches that earlier runs of this cell have left running; they can be resumed."""
        for earlier, (run, loop) in [*self.started.items()]:
            if run == self.id or earlier.idle or loop.is_closed():
                continue
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(earlier.close(), loop))
            counts = earlier.progress
            print(  # noqa: T201 - a cell shows what it prints
                f"Stopped {earlier.id}, which the previous run of this cell had started: {counts.done} of "
                f'{counts.total or "?"} images are done. studio.resume("{earlier.id}") continues it.'
            )
        self.started[batch] = (self.id, asyncio.get_running_loop())


@contextmanager
def explained(lines: Callable[[], Sequence[str]]) -> Generator[None]:
    """Let a notebook show these lines if the block is interrupted, instead of a traceback."""
    try:
        yield
    except asyncio.CancelledError as error:
        # On this error alone: asyncio.timeout would not recognise a class of its own.
        error.__dict__["_render_traceback_"] = lambda: [*lines()]
        raise
