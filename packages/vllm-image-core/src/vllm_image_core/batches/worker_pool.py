"""Worker pool: run work on many items, a bounded number at a time, with exactly one outcome for each.

It knows nothing about HTTP or images. Leaving the block ends everything that was started in it:

    async with run_items(work, items, at_once=2, expected=(ImageError, OmniError)) as batch:
        async for outcome in batch:  # Done(index, item, value) | Failed(index, item, error)
            ...
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sized
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
    """An item whose work raised an error of an expected class."""

    index: int
    item: Item
    error: Exception


Outcome: TypeAlias = Done[Item, Value] | Failed[Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Number of items in each state. `total` and `waiting` are None until all items are known.

    `reused` counts those of `done` that existed already.
    """

    total: int | None
    waiting: int | None
    running: int
    done: int
    failed: int
    cancelled: int
    reused: int = 0

    @property
    def ended_count(self) -> int:
        """Number of items in a final state."""
        return self.done + self.failed + self.cancelled


def run_items(
    work: Callable[[Item], Awaitable[Value]],
    items: Iterable[Item] | AsyncIterable[Item],
    *,
    at_once: int,
    expected: tuple[type[Exception], ...],
    total: int | None = None,
    id: BatchId | None = None,  # noqa: A002 - the field's own name, and keyword-only
) -> "WorkerPool[Item, Value]":
    """Run `work` on each of `items`, at most `at_once` at a time, inside an `async with` block.

    Items are pulled when there is room for them: no more than `at_once` pulled items ever have an unread
    outcome, so a slow reader slows the work and nothing piles up. Outcomes come as they complete, not in
    the order of the items.

    Args:
        work: Called once per item, in a task of the pool.
        items: Pulled on the event loop, one after another; may be endless.
        at_once: Number of items to run at a time, at least 1.
        expected: Error classes that are the outcome of one item and stop nothing else. Any other error
            is a bug: the pool stops, hands out the outcomes that it has, and raises that error.
        total: Number of items; by default `len(items)`, if it has a length.
        id: The id of the batch, if it has one.

    Raises:
        ValueError: `at_once` is less than 1.
    """
    known = len(items) if total is None and isinstance(items, Sized) else total
    return WorkerPool(work, items, at_once=at_once, expected=expected, total=known, id=id)


class WorkerPool(Generic[Item, Value]):
    """Pool of workers that runs while its block is open; also an async iterator of outcomes.

    Created by `run_items`. `cancel` and `progress` may be used from any task of the same event loop.
    """

    def __init__(
        self,
        work: Callable[[Item], Awaitable[Value]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        at_once: int,
        expected: tuple[type[Exception], ...],
        total: int | None,
        id: BatchId | None,  # noqa: A002 - as in `run_items`
    ) -> None:
        if at_once < 1:
            raise ValueError(f"at_once is {at_once}; it must be at least 1")
        self.id = id
        self._work = work
        self._source = _pull(items)
        self._pulling = asyncio.Lock()
        self._expected = expected
        self._total = total
        self._at_once = at_once
        self._room = asyncio.Semaphore(at_once)
        self._states: list[State] = []
        self._counts: dict[State, int] = dict.fromkeys(("running", "done", "failed", "cancelled"), 0)
        self._outcomes: deque[Outcome[Item, Value]] = deque()
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
        for _ in range(self._at_once if self._total is None else max(1, min(self._at_once, self._total))):
            self._add_worker()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cancel()
        await self._source.aclose()
        if error is None:
            self._raise_bug()

    def __aiter__(self) -> AsyncIterator[Outcome[Item, Value]]:
        return self

    async def __anext__(self) -> Outcome[Item, Value]:
        """The next outcome. Each is handed out once, even if the pool was cancelled meanwhile."""
        if not self._started:
            raise RuntimeError("a worker pool runs only inside its `async with` block")
        while not self._outcomes and not self.over:
            self._changed.clear()
            await self._changed.wait()
        if self._outcomes:
            self._room.release()
            return self._outcomes.popleft()
        self._raise_bug()
        raise StopAsyncIteration

    @property
    def over(self) -> bool:
        """Whether all work has ended and no more items will be pulled. Outcomes may still be unread."""
        return self._started and self._at_work == 0

    @property
    def progress(self) -> Progress:
        """The current counts. Items that were never pulled count as cancelled once the pool is over."""
        pulled = len(self._states)
        total = pulled if self._exhausted else self._total
        left = None if total is None else max(total - pulled, 0)
        over = self.over
        return Progress(
            total=total,
            waiting=0 if over else left,
            running=self._counts["running"],
            done=self._counts["done"],
            failed=self._counts["failed"],
            cancelled=self._counts["cancelled"] + ((left or 0) if over else 0),
        )

    def state(self, index: int) -> State:
        """The state of the item with this index.

        Raises:
            IndexError: The batch has no such item.
        """
        if 0 <= index < len(self._states):
            return self._states[index]
        if index < 0 or (self._exhausted or (self._total is not None and index >= self._total)):
            raise IndexError(f"the batch has no item {index}")
        return "cancelled" if self.over else "waiting"

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

    async def cancel(self) -> Progress:
        """Stop pulling, cancel running items, wait until they have ended, and return the counts.

        Unread outcomes can still be read. Does nothing if the pool is over, and may be called more than
        once.
        """
        self._stop()
        others = [worker for worker in self._workers if worker is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # from Python 3.12 on, gather does not wait for the callbacks of ended tasks
        return self.progress

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
                index = len(self._states)
                self._states.append("running")
                self._counts["running"] += 1
            await self._attempt(index, item)

    async def _attempt(self, index: int, item: Item) -> None:
        end: State = "failed"
        try:
            value = await self._work(item)
            end = "done"
            self._outcomes.append(Done(index, item, value))
        except self._expected as error:
            self._outcomes.append(Failed(index, item, error))
        except asyncio.CancelledError as error:
            if not _is_cancelling():
                raise RuntimeError(f"the work of item {index} cancelled itself") from error
            end = "cancelled"
            raise
        finally:
            self._states[index] = end
            self._counts["running"] -= 1
            self._counts[end] += 1
            self._changed.set()

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
