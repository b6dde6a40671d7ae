"""Worker pool: run work on many items, a bounded number at a time, with exactly one result for each.

It knows nothing about HTTP or images. Leaving the block ends everything that was started in it:

    async with run_items(work, items, at_once=2) as results:
        async for done in results:  # Done(index, item, value)
            ...
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Literal, NewType, Self, TypeAlias, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

BatchId = NewType("BatchId", str)
"""`batch_` and 32 hexadecimal digits."""

State = Literal["waiting", "running", "done", "failed", "cancelled"]
"""The state of an item. The last three are final."""


def batch_id(bits: int) -> BatchId:
    """Create the id of a batch from 128 random bits (`secrets.randbits(128)`).

    Batches are looked up by id alone, so the id must not be guessable.

    Raises:
        ValueError: `bits` is negative or has more than 128 bits.
    """
    if not 0 <= bits < 1 << 128:
        raise ValueError("a batch id needs 128 bits")
    return BatchId(f"batch_{bits:032x}")


@dataclass(frozen=True, slots=True)
class Done(Generic[Item, Value]):
    """An item whose work returned a value. `index` counts from 0 in the order of the items."""

    index: int
    item: Item
    value: Value


@dataclass(frozen=True, slots=True)
class Failed(Generic[Item]):
    """An item that has failed."""

    index: int
    item: Item
    error: Exception


Outcome: TypeAlias = Done[Item, Value] | Failed[Item]


def run_items(
    work: Callable[[Item], Awaitable[Value]], items: Iterable[Item] | AsyncIterable[Item], *, at_once: int
) -> "WorkerPool[Item, Value]":
    """Run `work` on each of `items`, at most `at_once` at a time, inside an `async with` block.

    Items are pulled when there is room for them: no more than `at_once` pulled items ever have an unread
    result, so a slow reader slows the work and nothing piles up. Results come as they complete, not in the
    order of the items.

    Args:
        work: Called once per item, in a task of the pool. An error is a bug: the pool stops, hands out the
            results that it has, and raises that error.
        items: Pulled on the event loop, one after another; may be endless.
        at_once: Number of items to run at a time, at least 1.

    Raises:
        ValueError: `at_once` is less than 1.
    """
    return WorkerPool(work, items, at_once=at_once)


class WorkerPool(Generic[Item, Value]):
    """Pool of workers that runs while its block is open; also an async iterator of results.

    Created by `run_items`. It may be used from any task of the same event loop.
    """

    def __init__(
        self,
        work: Callable[[Item], Awaitable[Value]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        at_once: int,
    ) -> None:
        if at_once < 1:
            raise ValueError(f"at_once is {at_once}; it must be at least 1")
        self._work = work
        self._source = _pull(items)
        self._pulling = asyncio.Lock()
        self._pulled = 0
        self._at_once = at_once
        self._room = asyncio.Semaphore(at_once)
        self._results: deque[Done[Item, Value]] = deque()
        self._changed = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._at_work = 0
        self._surplus = 0
        self._started = False
        self._stopping = False
        self._exhausted = False
        self._bug: BaseException | None = None

    async def __aenter__(self) -> Self:
        if self._started:
            raise RuntimeError("a worker pool runs only once; create another with run_items()")
        self._started = True
        for _ in range(self._at_once):
            self._add_worker()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cancel()
        await self._source.aclose()
        if error is None:
            self._raise_bug()

    def __aiter__(self) -> AsyncIterator[Done[Item, Value]]:
        return self

    async def __anext__(self) -> Done[Item, Value]:
        """The next result. Each is handed out once, even if the pool was cancelled meanwhile."""
        if not self._started:
            raise RuntimeError("a worker pool runs only inside its `async with` block")
        while not self._results and self._at_work:
            self._changed.clear()
            await self._changed.wait()
        if self._results:
            self._room.release()
            return self._results.popleft()
        self._raise_bug()
        raise StopAsyncIteration

    def resize(self, at_once: int) -> None:
        """Change how many items run at a time; running items are not stopped.

        Raises:
            ValueError: `at_once` is less than 1.
        """
        if at_once < 1:
            raise ValueError(f"at_once is {at_once}; it must be at least 1")
        more, self._at_once = at_once - self._at_once, at_once
        if self._stopping or self._exhausted or not self._at_work:
            return
        for _ in range(more):
            self._room.release()
            if self._surplus:
                self._surplus -= 1
            else:
                self._add_worker()
        self._surplus += max(0, -more)

    async def cancel(self) -> None:
        """Stop pulling, cancel running items, and wait until they have ended.

        Unread results can still be read. May be called more than once.
        """
        self._stop()
        others = [worker for worker in self._workers if worker is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # from Python 3.12 on, gather does not wait for the callbacks of ended tasks

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            for worker in tuple(self._workers):
                worker.cancel()

    def _add_worker(self) -> None:
        worker = asyncio.create_task(self._serve())
        self._workers.append(worker)
        self._at_work += 1
        worker.add_done_callback(self._leave)

    async def _serve(self) -> None:
        while not self._stopping:
            await self._room.acquire()
            if self._surplus:
                self._surplus -= 1
                return
            async with self._pulling:
                if self._exhausted:
                    return
                try:
                    item = await anext(self._source)
                except StopAsyncIteration:
                    self._exhausted = True
                    return
                index, self._pulled = self._pulled, self._pulled + 1
            self._results.append(Done(index, item, await self._result(index, item)))
            self._changed.set()

    async def _result(self, index: int, item: Item) -> Value:
        try:
            return await self._work(item)
        except asyncio.CancelledError as error:
            if not _is_cancelling():
                raise RuntimeError(f"the work of item {index} cancelled itself") from error
            raise

    def _leave(self, worker: asyncio.Task[None]) -> None:
        if worker.cancelled():
            self._stop()
        elif (bug := worker.exception()) is not None:
            self._bug = self._bug or bug
            self._stop()
        self._at_work -= 1
        self._workers.remove(worker)
        self._changed.set()

    def _raise_bug(self) -> None:
        bug, self._bug = self._bug, None
        if bug is not None:
            raise bug


async def _pull(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
