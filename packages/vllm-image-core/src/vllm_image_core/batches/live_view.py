"""Live view: a progress bar, and in a notebook a table of the latest images, while a batch runs."""

import asyncio
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from vllm_image_core.batches.events import Event
from vllm_image_core.batches.items import Done, Failed
from vllm_image_core.display.card import Card, Cell, time_text
from vllm_image_core.display.thumbnails import Thumbnail
from vllm_image_core.errors import MissingPackage
from vllm_image_core.text import folder_text

if TYPE_CHECKING:
    from vllm_image_core.batches.handle import ImageBatch

_TICK_SECONDS: Final = 0.5
_ROWS: Final = 8
_COLUMNS: Final = ("image", "position", "seed", "time", "prompt", "error")
_ENDED: Final = frozenset({"done", "reused", "failed"})


class LiveView:
    """Shows one batch until it is over.

    Args:
        batch: The batch; it is started if necessary.

    Raises:
        MissingPackage: tqdm is not installed.
    """

    def __init__(self, batch: "ImageBatch") -> None:
        self._batch = batch
        self._bar_class = _tqdm()
        self._rows: dict[int, tuple[Cell, ...]] = {}
        self._latest: list[int] = []

    async def run(self) -> None:
        """Show the batch until it is over."""
        batch = self._batch
        batch.listen(self._note)
        await batch
        before = [*sorted(batch.errors)[-_ROWS:], *sorted(batch.images)[-_ROWS:]]
        self._latest = [*sorted(before), *self._latest]
        counts = batch.progress
        with self._bar_class(total=counts.total, unit=" images", desc="images") as bar:
            update, over = _html_output(), False
            while not over:
                over = await batch.wait(_TICK_SECONDS)
                self._move(bar)
                if update is not None:
                    update(await asyncio.to_thread(lambda: self._card().html()))

    def _note(self, event: Event) -> None:
        if event.kind in _ENDED and event.index is not None:
            self._latest.append(event.index)

    def _move(self, bar: Any) -> None:  # noqa: ANN401 - tqdm has no types
        counts = self._batch.progress
        bar.total = counts.total
        bar.n = counts.done + counts.failed
        if counts.failed:
            bar.set_postfix(failed=counts.failed, refresh=False)
        bar.refresh()

    def _card(self) -> Card:
        batch = self._batch
        latest = list(dict.fromkeys(reversed(self._latest)))[:_ROWS]
        self._latest = latest[::-1]
        self._rows = {place: self._rows.get(place) or self._row(place) for place in sorted(latest)}
        counts = batch.progress
        ended = counts.done + counts.failed
        return Card(
            title=f"{batch.id}: {counts.done:,} of {counts.total or '?'} done"
            f"{f', {counts.failed:,} failed' if counts.failed else ''}",
            facts={
                "time": time_text(batch.seconds),
                "time left": None if batch.over else str(batch.eta).replace(" left", ""),
                "cause": batch.cause,
                "folder": folder_text(batch.output_dir),
            },
            columns=_COLUMNS,
            rows=list(self._rows.values()),
            notes=(f"The latest {len(latest)} of {ended:,}.",) if ended > len(latest) else (),
        )

    def _row(self, place: int) -> tuple[Cell, ...]:
        match self._batch.outcome(place):
            case Done(item=request, value=image):
                taken = "reused" if image.reused else time_text(image.seconds)
                thumbnail = Thumbnail(image.picture, request.prompt)
                return thumbnail, place, image.seed, taken, request.prompt, None
            case Failed(item=request, error=error):
                return None, place, request.seed, None, request.prompt, f"{type(error).__name__}: {error}"
            case None:
                return None, place, None, None, None, None


def _tqdm() -> Any:  # noqa: ANN401 - tqdm has no types
    """Return the bar for the place that shows it: a notebook's widget, or text on stderr."""
    try:
        return import_module("tqdm.auto").tqdm
    except ImportError as error:
        raise MissingPackage("tqdm", needed_for="it draws the progress bar", extra="notebook") from error


def _html_output() -> Callable[[str], None] | None:
    """Return a function that shows HTML below the cell, replacing the last; None outside notebooks."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if not hasattr(shell, "kernel"):
        return None
    display: Any = import_module("IPython.display")
    handle = display.display(display.HTML(""), display_id=True)

    def update(html: str) -> None:
        handle.update(display.HTML(html))

    return update
