"""Results: iterate over all outcomes of a batch in the order of its requests, or get them as a data frame."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from vllm_image_core.batches.item_states import ImageOutcome
from vllm_image_core.batches.outcomes import OutcomeReader
from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.errors import InvalidRequest

if TYPE_CHECKING:
    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.frames import FrameBackend


class Results(Displayed):
    """All outcomes of a batch in the order of its requests, including those from before it was resumed.

    - ``async for outcome in batch.results()`` waits for each, and starts the batch if necessary.
    - ``for outcome in batch.results()`` reads those of a batch that is over.
    - ``batch.results().to_frame()`` gives a row with path and parameters for each.

    Requests that were not sent because the batch was cancelled are skipped.

    Args:
        batch: The batch.
        outcomes: Returns the reader of its outcomes once it has started.
    """

    def __init__(self, batch: "ImageBatch", outcomes: Callable[[], OutcomeReader]) -> None:
        self._batch = batch
        self._outcomes = outcomes

    async def __aiter__(self) -> AsyncIterator[ImageOutcome]:
        await self._batch
        position = 0
        while await self._outcomes().has(position):
            outcome = await self._outcomes().at(position)
            if outcome is not None:
                yield outcome
            position += 1

    def __iter__(self) -> Iterator[ImageOutcome]:
        """Read the outcomes of a batch that is over; blocks on disk I/O.

        Raises:
            InvalidRequest: The batch is not over.
        """
        self._check_over()
        outcomes = self._outcomes()
        return (
            outcome
            for position in range(outcomes.states.recorded)
            if (outcome := outcomes.read(position)) is not None
        )

    def to_frame(self, backend: "FrameBackend | None" = None) -> Any:  # noqa: ANN401 - a frame of that library
        """Return a data frame with one row per image or failure: its path, parameters, time and error.

        A batch that is still running gives the rows that it has. Blocks on disk I/O.

        Args:
            backend: "pandas", "polars" or "pyarrow"; by default the first of them that is installed.

        Raises:
            MissingPackage: That library, or narwhals, is not installed.
        """
        from vllm_image_core.frames import frame  # noqa: PLC0415 - for callers with data frames alone

        rows = [] if self._batch.concurrency == 0 else self._outcomes().rows()
        return frame(rows, backend)

    def _check_over(self) -> None:
        if not self._batch.over:
            raise InvalidRequest(
                f"{self._batch.id} is not over.",
                parameter="batch",
                value=self._batch.id,
                allowed="a batch that is over",
                next_step="Use `async for`, or wait for it first: `await batch.wait()`.",
            )

    def _card(self) -> Card:
        counts = self._batch.progress
        return Card(
            title=f"Results of {self._batch.id}: {counts.done:,} done, {counts.failed:,} failed",
            notes=("`for outcome in results` reads them; `results.to_frame()` is a data frame.",),
        )
