"""BlockingBatch: run a batch of a blocking studio; it starts at once, and you read it in a plain loop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from vllm_omni_client.errors import OmniError

from vllm_image_core.batch_file.request_rows import RefusedRow
from vllm_image_core.batches.batch_row import BatchId
from vllm_image_core.batches.events import Event
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.item_states import ImageOutcome, Progress
from vllm_image_core.batches.ranking import Ranking
from vllm_image_core.batches.results import Results
from vllm_image_core.blocking.loop_thread import LoopThread
from vllm_image_core.blocking.methods import Attribute, Blocking, forwarded, same_parameters, waiting
from vllm_image_core.errors import ImageError
from vllm_image_core.estimation.backlog import Eta
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest

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
        studio: The studio, which stays open as long as this batch exists.
    """

    def __init__(self, wrapped: ImageBatch, loop: LoopThread, *, studio: object) -> None:
        super().__init__(wrapped, loop)
        self.id: BatchId = wrapped.id
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

    @waiting(ImageBatch.show)
    def show(self) -> None:
        """As in ``ImageBatch``."""

    @waiting(ImageBatch.wait)
    def wait(self) -> None:
        """As in ``ImageBatch``."""

    @waiting(ImageBatch.cancel)
    def cancel(self) -> None:
        """As in ``ImageBatch``."""

    @waiting(ImageBatch.close)
    def close(self) -> None:
        """As in ``ImageBatch``."""

    @waiting(ImageBatch.drain)
    def drain(self) -> None:
        """As in ``ImageBatch``."""

    @waiting(ImageBatch.forecast)
    def forecast(self) -> None:
        """As in ``ImageBatch``."""

    @waiting(ImageBatch.retry_failed)
    def retry_failed(self) -> None:
        """As in ``ImageBatch``."""

    @forwarded(ImageBatch.state)
    def state(self) -> None:
        """As in ``ImageBatch``."""

    @forwarded(ImageBatch.outcome)
    def outcome(self) -> None:
        """As in ``ImageBatch``."""

    @forwarded(ImageBatch.listen)
    def listen(self) -> None:
        """As in ``ImageBatch``."""

    @forwarded(ImageBatch.forget_images)
    def forget_images(self) -> None:
        """As in ``ImageBatch``."""

    output_dir: Attribute[ImageBatch, Path] = _read("output_dir", lambda batch: batch.output_dir)
    refused: Attribute[ImageBatch, Sequence[RefusedRow]] = _read("refused", lambda batch: batch.refused)
    requests: Attribute[ImageBatch, Sequence[ImageRequest]] = _read("requests", lambda batch: batch.requests)
    concurrency: Attribute[ImageBatch, int] = _read("concurrency", lambda batch: batch.concurrency)
    progress: Attribute[ImageBatch, Progress] = _read("progress", lambda batch: batch.progress)
    eta: Attribute[ImageBatch, Eta] = _read("eta", lambda batch: batch.eta)
    over: Attribute[ImageBatch, bool] = _read("over", lambda batch: batch.over)
    idle: Attribute[ImageBatch, bool] = _read("idle", lambda batch: batch.idle)
    cancelled: Attribute[ImageBatch, bool] = _read("cancelled", lambda batch: batch.cancelled)
    cause: Attribute[ImageBatch, str | None] = _read("cause", lambda batch: batch.cause)
    trouble: Attribute[ImageBatch, ImageError | OmniError | None] = _read(
        "trouble", lambda batch: batch.trouble
    )
    running_at_cancel: Attribute[ImageBatch, int] = _read(
        "running_at_cancel", lambda batch: batch.running_at_cancel
    )
    unfinished_count: Attribute[ImageBatch, int] = _read(
        "unfinished_count", lambda batch: batch.unfinished_count
    )
    unread: Attribute[ImageBatch, int] = _read("unread", lambda batch: batch.unread)
    seconds: Attribute[ImageBatch, float] = _read("seconds", lambda batch: batch.seconds)
    images: Attribute[ImageBatch, Mapping[int, GeneratedImage]] = _read("images", lambda batch: batch.images)
    errors: Attribute[ImageBatch, Mapping[int, Exception]] = _read("errors", lambda batch: batch.errors)
    ranking: Attribute[ImageBatch, Ranking] = _read("ranking", lambda batch: batch.ranking)
    listener_errors: Attribute[ImageBatch, int] = _read(
        "listener_errors", lambda batch: batch.listener_errors
    )


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
