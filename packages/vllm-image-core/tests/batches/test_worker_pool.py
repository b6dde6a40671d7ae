"""The worker pool: bounded, lazy, structured, and one outcome for each item."""

import asyncio
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pytest
from vllm_image_core.batches.items import Done
from vllm_image_core.batches.worker_pool import WorkerPool, run_items

DEADLINE_SECONDS = 20


class Broken(Exception):
    """An expected failure."""


class Doors:
    """Work that ends when the test opens its door, and reports what it saw."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.at_once = 0
        self.most_at_once = 0
        self._doors: dict[int, asyncio.Event] = {}
        self._ends: dict[int, asyncio.Event] = {}
        self._news = asyncio.Event()

    def door(self, item: int) -> asyncio.Event:
        return self._doors.setdefault(item, asyncio.Event())

    async def work(self, item: int) -> int:
        self.started.append(item)
        self._news.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.door(item).wait()
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        finally:
            self.at_once -= 1
            self._ends.setdefault(item, asyncio.Event()).set()
        return item * 10

    async def ended(self, item: int) -> None:
        await self._ends.setdefault(item, asyncio.Event()).wait()

    async def seen(self, count: int) -> None:
        while len(self.started) < count:
            self._news.clear()
            await self._news.wait()


@pytest.fixture
def doors() -> Doors:
    return Doors()


async def times_ten(item: int) -> int:
    await asyncio.sleep(0)
    return item * 10


async def read_all(batch: WorkerPool[int, int], seen: list[Done[int, int]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch:
        async for outcome in batch:
            seen.append(outcome)  # noqa: PERF401 - what was read before an error is what is looked at


def counted(pulled: list[int], length: int | None = None) -> Iterator[int]:
    for item in itertools.count() if length is None else range(length):
        pulled.append(item)
        yield item


async def test_every_item_has_one_outcome_with_its_index_and_value() -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(times_ten, [7, 8, 9], at_once=2) as batch,
    ):
        outcomes = [outcome async for outcome in batch]
    assert sorted(outcomes, key=lambda outcome: outcome.index) == [
        Done(0, 7, 70),
        Done(1, 8, 80),
        Done(2, 9, 90),
    ]


async def test_outcomes_arrive_as_they_complete_not_in_the_order_of_the_items(doors: Doors) -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(doors.work, [0, 1], at_once=2) as batch,
    ):
        await doors.seen(2)
        doors.door(1).set()
        assert await anext(batch) == Done(1, 1, 10)
        doors.door(0).set()
        assert await anext(batch) == Done(0, 0, 0)
        with pytest.raises(StopAsyncIteration):
            await anext(batch)


async def test_an_unexpected_error_ends_the_batch_after_the_outcomes_so_far(doors: Doors) -> None:
    async def work(item: int) -> int:
        if item == 2:
            doors.door(0).set()
            raise ZeroDivisionError("a bug")
        return await doors.work(item)

    seen: list[Done[int, int]] = []
    doors.door(0).set()
    batch = run_items(work, range(9), at_once=2)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await read_all(batch, seen)
    assert seen == [Done(0, 0, 0)]
    assert doors.cancelled == [1]


async def test_the_block_raises_a_bug_if_nobody_reads_the_outcomes() -> None:
    async def work(item: int) -> int:
        reached.set()
        raise ZeroDivisionError

    reached = asyncio.Event()
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(DEADLINE_SECONDS), run_items(work, [1], at_once=1):
            await reached.wait()


async def test_an_error_of_the_items_ends_the_batch_even_if_its_class_is_expected() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise Broken("the file ended in the middle of a line")

    seen: list[Done[int, int]] = []
    with pytest.raises(Broken, match="middle of a line"):
        await read_all(run_items(times_ten, items(), at_once=2), seen)
    assert seen == [Done(0, 1, 10)]


async def test_work_that_cancels_itself_is_a_bug_and_not_a_silent_loss() -> None:
    async def work(item: int) -> int:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="item 0 cancelled itself"):
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            run_items(work, [1], at_once=1) as batch,
        ):
            await anext(batch)


@pytest.mark.parametrize("at_once", [1, 2, 5])
async def test_exactly_at_once_items_run_at_a_time(doors: Doors, at_once: int) -> None:
    for item in range(20):
        doors.door(item)
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(doors.work, range(20), at_once=at_once) as batch,
    ):
        await doors.seen(at_once)
        assert doors.started == list(range(at_once))
        for item in range(20):
            doors.door(item).set()
        assert len([outcome async for outcome in batch]) == 20
    assert doors.most_at_once == at_once


async def test_no_more_than_at_once_items_are_pulled_before_their_outcomes_are_read() -> None:
    pulled: list[int] = []
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(times_ten, counted(pulled), at_once=3) as batch,
    ):
        for taken in range(1, 50):
            await anext(batch)
            assert len(pulled) <= taken + 3
    assert len(pulled) <= 52


async def test_an_endless_source_stops_where_the_reader_stopped() -> None:
    pulled: list[int] = []
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(times_ten, counted(pulled), at_once=2) as batch,
    ):
        async for outcome in batch:
            if outcome.index >= 10:
                break
    assert len(pulled) <= 15


async def test_items_may_come_from_an_async_source_which_is_pulled_one_at_a_time() -> None:
    inside = 0

    async def items() -> AsyncIterator[int]:
        nonlocal inside
        for item in range(30):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1
            yield item

    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(times_ten, items(), at_once=4) as batch,
    ):
        values = [outcome.value async for outcome in batch]
    assert sorted(values) == [item * 10 for item in range(30)]


async def test_each_of_ten_thousand_jobs_is_done_once() -> None:
    async def work(item: int) -> int:
        return item

    pulled: list[int] = []
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(work, counted(pulled, 10_000), at_once=8) as batch,
    ):
        indexes = [outcome.index async for outcome in batch]
    assert sorted(indexes) == list(range(10_000))


async def test_a_pool_without_items_is_over_at_once() -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(times_ten, [], at_once=4) as batch,
    ):
        assert [outcome async for outcome in batch] == []


@pytest.mark.parametrize("at_once", [0, -1])
def test_at_once_below_one_is_refused(at_once: int) -> None:
    with pytest.raises(ValueError, match=f"at_once is {at_once}"):
        run_items(times_ten, [1], at_once=at_once)


async def test_leaving_the_block_cancels_running_work_and_waits_for_it(doors: Doors) -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(doors.work, range(5), at_once=2),
    ):
        await doors.seen(2)
    assert doors.cancelled == [0, 1]
    assert doors.at_once == 0


async def test_an_error_in_the_block_cancels_the_rest_and_is_raised_unchanged(doors: Doors) -> None:
    async def reader() -> None:
        async with run_items(doors.work, range(5), at_once=2):
            await doors.seen(2)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await asyncio.wait_for(reader(), DEADLINE_SECONDS)
    assert doors.cancelled == [0, 1]


async def test_cancelling_the_task_of_the_block_cancels_the_rest_and_is_not_swallowed(doors: Doors) -> None:
    async def reader() -> None:
        async with run_items(doors.work, range(5), at_once=2) as batch:
            await anext(batch)

    task = asyncio.create_task(reader())
    async with asyncio.timeout(DEADLINE_SECONDS):
        await doors.seen(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert task.cancelled()
    assert doors.cancelled == [0, 1]


async def test_a_cancel_ends_waiting_and_running_work_and_keeps_finished_work(doors: Doors) -> None:
    doors.door(0).set()
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(doors.work, range(10), at_once=2) as batch,
    ):
        first = await anext(batch)
        await doors.seen(3)
        await batch.cancel()
        assert [outcome async for outcome in batch] == []
    assert first == Done(0, 0, 0)
    assert doors.started == [0, 1, 2]


async def test_an_outcome_that_was_unread_at_the_cancel_can_still_be_read(doors: Doors) -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(doors.work, range(4), at_once=2) as batch,
    ):
        await doors.seen(2)
        doors.door(0).set()
        await doors.ended(0)
        await batch.cancel()
        assert [outcome async for outcome in batch] == [Done(0, 0, 0)]


async def test_work_that_finishes_in_spite_of_a_cancel_is_delivered() -> None:
    began = asyncio.Event()

    async def work(item: int) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "saved all the same"  # as a commit section does, which must not be torn
        return "never"

    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(work, range(3), at_once=1) as batch,
    ):
        await began.wait()
        await batch.cancel()
        assert [outcome async for outcome in batch] == [Done(0, 0, "saved all the same")]


@pytest.mark.parametrize("steps", range(8))
async def test_whenever_a_cancel_comes_each_item_ends_once_and_every_result_is_delivered(
    steps: int,
) -> None:
    returned: list[int] = []

    async def work(item: int) -> int:
        for _ in range(item % 3):
            await asyncio.sleep(0)
        returned.append(item)
        return item

    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(work, range(12), at_once=3) as batch,
    ):
        taken = [await anext(batch) for _ in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        await batch.cancel()
        taken += [outcome async for outcome in batch]
    assert sorted(outcome.item for outcome in taken) == sorted(returned)


async def test_cancel_may_be_called_twice_at_once_and_after_the_end() -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(times_ten, range(3), at_once=3) as batch,
    ):
        _ = [outcome async for outcome in batch]
        await asyncio.gather(batch.cancel(), batch.cancel())
    await batch.cancel()
    assert [outcome async for outcome in batch] == []


async def test_work_may_cancel_its_own_batch() -> None:
    batches: list[WorkerPool[int, int]] = []

    async def work(item: int) -> int:
        await batches[0].cancel()
        return item

    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(work, range(5), at_once=1) as batch,
    ):
        batches.append(batch)
        outcomes = [outcome async for outcome in batch]
    assert outcomes == []


async def test_a_cancel_waits_until_the_cancelled_work_has_cleaned_up() -> None:
    began, clean = asyncio.Event(), asyncio.Event()

    async def work(item: int) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            clean.set()

    async with asyncio.timeout(DEADLINE_SECONDS), run_items(work, [1], at_once=1) as batch:
        await began.wait()
        await batch.cancel()
        assert clean.is_set()


async def test_a_reader_that_stops_waiting_loses_no_outcome(doors: Doors) -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(doors.work, [4], at_once=1) as batch,
    ):
        waiting = asyncio.ensure_future(anext(batch))
        await doors.seen(1)
        doors.door(4).set()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await anext(batch) == Done(0, 4, 40)


async def test_two_readers_share_the_outcomes_and_both_end() -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(times_ten, range(50), at_once=4) as batch,
    ):

        async def read() -> list[int]:
            return [outcome.index async for outcome in batch]

        left, right = await asyncio.gather(read(), read())
    assert sorted(left + right) == list(range(50))


async def test_a_batch_runs_once_and_only_inside_its_block() -> None:
    batch = run_items(times_ten, [1], at_once=1)
    with pytest.raises(RuntimeError, match="async with"):
        await anext(batch)
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with batch:
            assert await anext(batch) == Done(0, 1, 10)
        with pytest.raises(RuntimeError, match="runs only once"):
            async with batch:
                pytest.fail("the block must not open")


async def test_at_once_can_be_raised_and_lowered_while_the_batch_runs(doors: Doors) -> None:
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        run_items(doors.work, range(20), at_once=1) as batch,
    ):
        await doors.seen(1)
        batch.resize(4)
        await doors.seen(4)
        assert doors.at_once == 4
        batch.resize(2)
        for item in range(4):
            doors.door(item).set()
        for _ in range(4):
            await anext(batch)
        await doors.seen(6)
        assert doors.at_once == 2
        for item in range(20):
            doors.door(item).set()
        assert len([outcome async for outcome in batch]) == 16
    assert doors.most_at_once == 4
    with pytest.raises(ValueError, match="at_once is 0"):
        batch.resize(0)


async def test_i08_ten_thousand_prompts_need_no_more_memory_than_a_few() -> None:
    pulled = 0

    def prompts() -> Iterator[str]:
        nonlocal pulled
        for number in range(10_000):
            pulled = number + 1
            yield f"a fox, number {number}, " + "x" * 1_000

    async def made(prompt: str) -> int:
        return len(prompt)

    tracemalloc.start()
    try:
        async with run_items(made, prompts(), at_once=2) as outcomes:
            async for outcome in outcomes:
                assert outcome.value > 1_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pulled == 10_000
    assert peak < 8_000_000


async def test_i08_the_first_of_a_million_prompts_is_sent_at_once() -> None:
    pulled = 0

    def prompts() -> Iterator[str]:
        nonlocal pulled
        for number in range(1_000_000):
            pulled = number + 1
            yield f"a fox, number {number}"

    async def made(prompt: str) -> str:
        return prompt

    async with run_items(made, prompts(), at_once=2) as outcomes:
        assert (await anext(outcomes)).value.startswith("a fox")
    assert pulled < 100
