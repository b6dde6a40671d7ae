"""A batch of pictures: what was asked for, what is saved so far, and a handle to cancel it."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Self

from vllm_omni_client.errors import OmniError

from vllm_image_core.batching import BatchId, Done, Failed, Outcome, running
from vllm_image_core.errors import ImageError
from vllm_image_core.generated import GeneratedImage
from vllm_image_core.maker import Job, Record
from vllm_image_core.request import ImageRequest

__all__ = ["PictureBatch"]

Make = Callable[[Job, Record], Coroutine[None, None, GeneratedImage]]


class PictureBatch:
    """Pictures in the making; entered as ``async with``, read with ``async for`` as they complete.

    Leaving the block cancels what still runs; what is saved stays, and stays listed in ``images``.

    Attributes:
        id: ``batch_`` and 128 random bits in hexadecimal.
        requests: All of them, seeds drawn, in order.
        at_once: How many are under way at the same time.
    """

    def __init__(
        self,
        make: Make,
        jobs: Sequence[Job],
        *,
        id: BatchId,  # noqa: A002 - the field's own name, and keyword-only
        at_once: int,
        timer: Callable[[], float],
    ) -> None:
        self.id = id
        self.requests = tuple(job.request for job in jobs)
        self._jobs = tuple(jobs)
        self.at_once = at_once
        self._make = make
        self._timer = timer
        self._images: dict[int, GeneratedImage] = {}
        self._errors: dict[int, Exception] = {}
        self._cancelled = False
        self._started: float | None = None
        self._ended: float | None = None
        self._batch = running(
            self._work, range(len(self.requests)), at_once=at_once, expected=(ImageError, OmniError), id=id
        )

    async def __aenter__(self) -> Self:
        self._started = self._timer()
        await self._batch.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._batch.__aexit__(kind, error, trace)
        finally:
            self._ended = self._timer()

    async def __aiter__(self) -> AsyncIterator[Outcome[ImageRequest, GeneratedImage]]:
        """Outcomes as they complete; ``index`` is the request's position."""
        async for outcome in self._batch:
            request = self.requests[outcome.index]
            match outcome:
                case Done(index=index, value=image):
                    yield Done(index, request, image)
                case Failed(index=index, error=error):
                    self._errors[index] = error
                    yield Failed(index, request, error)

    @property
    def images(self) -> Mapping[int, GeneratedImage]:
        """What is saved so far, by the request's position."""
        return MappingProxyType(dict(sorted(self._images.items())))

    @property
    def errors(self) -> Mapping[int, Exception]:
        """What failed so far, by the request's position."""
        return MappingProxyType(dict(sorted(self._errors.items())))

    @property
    def over(self) -> bool:
        """Whether nothing is made any more."""
        return self._ended is not None or self._batch.over

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled before its end."""
        return self._cancelled

    @property
    def unfinished(self) -> int:
        """How many are neither saved nor failed."""
        return len(self.requests) - len(self._images) - len(self._errors)

    @property
    def seconds(self) -> float:
        """From its start to its end, or to now."""
        if self._started is None:
            return 0.0
        return (self._timer() if self._ended is None else self._ended) - self._started

    async def cancel(self) -> None:
        """Send no more and close what is open; does nothing to a batch that has ended.

        A picture that is running on the GPU may still be finished there.
        """
        if self.over:
            return
        self._cancelled = True
        await self._batch.cancel()

    async def _work(self, index: int) -> GeneratedImage:
        return await self._make(self._jobs[index], lambda image: self._images.__setitem__(index, image))
