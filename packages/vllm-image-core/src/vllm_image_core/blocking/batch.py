"""BlockingBatch: the batch of a blocking studio; it starts at once, and is read in a plain loop."""

from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

from vllm_image_core.batches.events import Event
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.item_states import ImageOutcome
from vllm_image_core.batches.results import Results
from vllm_image_core.blocking.loop_thread import LoopThread
from vllm_image_core.blocking.methods import Attribute, Blocking, forwarded, same_parameters, waiting

__all__ = ["BlockingBatch"]

Value = TypeVar("Value")


def _read(name: str, get: Callable[[ImageBatch], Value]) -> Attribute[ImageBatch, Value]:
    return Attribute(get, getattr(ImageBatch, name, None).__doc__)


class BlockingBatch(Blocking[ImageBatch]):
    """A batch that runs in the thread of a ``BlockingStudio``, whether or not anybody reads it.

    ``for outcome in batch`` yields the outcomes as they complete. Leaving a ``with`` block cancels what is
    still running; saved images stay. An interrupt ends the wait, not the batch.

    Args:
        wrapped: The batch, which has started.
        loop: The studio's event loop.
        studio: The studio, which is not closed as long as it has this batch.
    """

    def __init__(self, wrapped: ImageBatch, loop: LoopThread, *, studio: object) -> None:
        super().__init__(wrapped, loop)
        self.id = wrapped.id
        self._studio = studio

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.cancel()

    def __iter__(self) -> Iterator[ImageOutcome]:
        """Yield outcomes as they complete; ``index`` is the request's position."""
        return self._iterate(aiter(self._wrapped))

    def results(self) -> "BlockingResults":
        """All outcomes in the order of the requests, to iterate over or as a data frame; waits for each."""
        return BlockingResults(self._wrapped.results(), self._loop, wait=self.wait)

    def events(self) -> Iterator[Event]:
        """Yield the events from now on, until the batch is over."""
        return self._iterate(self._loop.call(self._wrapped.events))

    show = waiting(ImageBatch.show)
    wait = waiting(ImageBatch.wait)
    cancel = waiting(ImageBatch.cancel)
    close = waiting(ImageBatch.close)
    drain = waiting(ImageBatch.drain)
    forecast = waiting(ImageBatch.forecast)
    retry_failed = waiting(ImageBatch.retry_failed)
    state = forwarded(ImageBatch.state)
    outcome = forwarded(ImageBatch.outcome)
    listen = forwarded(ImageBatch.listen)

    output_dir = _read("output_dir", lambda batch: batch.output_dir)
    refused = _read("refused", lambda batch: batch.refused)
    requests = _read("requests", lambda batch: batch.requests)
    concurrency = _read("concurrency", lambda batch: batch.concurrency)
    progress = _read("progress", lambda batch: batch.progress)
    eta = _read("eta", lambda batch: batch.eta)
    over = _read("over", lambda batch: batch.over)
    idle = _read("idle", lambda batch: batch.idle)
    cancelled = _read("cancelled", lambda batch: batch.cancelled)
    cause = _read("cause", lambda batch: batch.cause)
    trouble = _read("trouble", lambda batch: batch.trouble)
    running_at_cancel = _read("running_at_cancel", lambda batch: batch.running_at_cancel)
    unfinished_count = _read("unfinished_count", lambda batch: batch.unfinished_count)
    unread = _read("unread", lambda batch: batch.unread)
    seconds = _read("seconds", lambda batch: batch.seconds)
    images = _read("images", lambda batch: batch.images)
    errors = _read("errors", lambda batch: batch.errors)
    listener_errors = _read("listener_errors", lambda batch: batch.listener_errors)


class BlockingResults(Blocking[Results]):
    """All outcomes of a batch in the order of its requests, including those from before it was resumed.

    Args:
        wrapped: The asynchronous results.
        loop: Their event loop.
        wait: Waits until the batch is over.
    """

    def __init__(self, wrapped: Results, loop: LoopThread, *, wait: Callable[[], bool]) -> None:
        super().__init__(wrapped, loop)
        self._wait = wait

    def __iter__(self) -> Iterator[ImageOutcome]:
        """Yield the outcomes, and wait for each."""
        return self._iterate(aiter(self._wrapped))

    @same_parameters(Results.to_frame)
    def to_frame(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of `Results.to_frame`
        """Wait for the batch, and return a data frame."""
        self._wait()
        return self._wrapped.to_frame(*args, **kwargs)
