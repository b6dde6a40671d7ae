"""Requests pulled from an iterator: on the event loop, or in a thread once it blocks."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import requests
from vllm_image_core.batches import ingest
from vllm_image_core.batches.ingest import pull_chunks
from vllm_image_core.batches.items import Done, Failed
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60
REQUEST = ImageRequest(prompt="a fox", width=64, height=64)


class Source:
    """An iterator on a clock of its own, on which a pull takes as long as the test says.

    Attributes:
        threads: In which thread each pull was made.
    """

    def __init__(self, *seconds: float) -> None:
        self.now = 0.0
        self.threads: list[int] = []
        self._seconds = seconds

    def clock(self) -> float:
        return self.now

    def __iter__(self) -> Iterator[ImageRequest]:
        for seconds in self._seconds:
            self.threads.append(threading.get_ident())
            self.now += seconds
            yield REQUEST


async def count_of(source: Source) -> int:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return sum([len(chunk) async for chunk in pull_chunks(source, clock=source.clock)])


async def test_an_iterator_that_blocks_twice_in_a_row_is_moved_to_a_thread() -> None:
    source = Source(0.2, 0.2, 0.0, 0.2, 0.0, 0.0)
    assert await count_of(source) == 6
    here, [there] = threading.get_ident(), set(source.threads[2:])
    assert source.threads == [here, here, there, there, there, there]
    assert there != here


@pytest.mark.parametrize(
    "seconds",
    [
        (0.0,) * 700,
        (5.0, *(0.0,) * 50),  # it opened a file
        (0.3, 0.0, 0.0, 0.3, *(0.0,) * 99, 0.3, *(0.0,) * 999, 0.3),  # the machine was busy now and then
        (0.06, 0.06, 0.0, 0.06, 0.06),
    ],
)
async def test_an_iterator_that_rarely_blocks_stays_in_its_own_thread(
    seconds: tuple[float, ...],
) -> None:
    source = Source(*seconds)
    assert await count_of(source) == len(seconds)
    assert set(source.threads) == {threading.get_ident()}


async def test_a_threaded_iterator_is_pulled_in_chunks_too() -> None:
    source = Source(0.2, 0.2, *(0.0,) * 1_000)
    async with asyncio.timeout(DEADLINE_SECONDS):
        sizes = [len(chunk) async for chunk in pull_chunks(source, clock=source.clock)]
    assert sizes == [1, 1, 4, 8, 16, 32, 64, 128, 256, 492]


def always_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_IN_A_ROW", 0)
    monkeypatch.setattr(ingest, "_BLOCKED_SECONDS", 0.0)


async def test_images_are_generated_while_the_next_request_is_awaited(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    always_in_a_thread(monkeypatch)
    made = threading.Event()

    def slow() -> Iterator[ImageRequest]:
        yield REQUEST
        assert made.wait(DEADLINE_SECONDS)
        yield REQUEST

    async with asyncio.timeout(DEADLINE_SECONDS), Studio(batch_server, output_dir=tmp_path) as studio:
        batch = studio.batch(slow())
        async for outcome in batch:
            if outcome.index == 0:
                made.set()
        assert batch.progress.done == 2


async def test_a_batch_can_be_cancelled_while_its_iterator_blocks_its_thread(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    always_in_a_thread(monkeypatch)
    cancelled, threads = threading.Event(), list[threading.Thread]()

    def slow() -> Iterator[ImageRequest]:
        threads.append(threading.current_thread())
        yield REQUEST
        assert cancelled.wait(DEADLINE_SECONDS)
        yield REQUEST

    async with asyncio.timeout(DEADLINE_SECONDS), Studio(batch_server, output_dir=tmp_path) as studio:
        batch = studio.batch(slow())
        async for _ in batch:
            break
        progress = await batch.cancel()
        assert (progress.total, progress.done) == (1, 1)
        cancelled.set()
        [thread] = threads
        await asyncio.to_thread(thread.join, DEADLINE_SECONDS)
        assert not thread.is_alive()


async def test_an_error_of_the_iterator_in_the_thread_is_raised_with_a_hint(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    always_in_a_thread(monkeypatch)

    def broken() -> Iterator[ImageRequest]:
        yield REQUEST
        raise ZeroDivisionError("a bug of the caller")

    async with asyncio.timeout(DEADLINE_SECONDS), Studio(batch_server, output_dir=tmp_path) as studio:
        batch = studio.batch(broken())
        with pytest.raises(ZeroDivisionError) as caught:
            _ = [outcome async for outcome in batch]
        assert "was moved to a thread" in " ".join(caught.value.__notes__)


async def test_the_thread_has_the_context_of_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    always_in_a_thread(monkeypatch)
    animal = contextvars.ContextVar("animal", default="none")
    animal.set("fox")
    async with asyncio.timeout(DEADLINE_SECONDS):
        chunks = [chunk async for chunk in pull_chunks(ImageRequest(prompt=animal.get()) for _ in range(2))]
    assert [request.prompt for chunk in chunks for request in chunk] == ["fox", "fox"]


async def test_requests_of_an_iterator_are_recorded_ahead_and_the_first_is_sent_immediately(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    may_go_on = asyncio.Event()

    async def slow() -> AsyncIterator[ImageRequest]:
        yield requests(1)[0]
        await may_go_on.wait()
        for request in requests(4)[1:]:
            yield request

    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(slow())
        outcomes = aiter(batch)
        assert (await anext(outcomes)).index == 0
        assert batch.progress.total is None
        may_go_on.set()
        assert sorted([outcome.index async for outcome in outcomes]) == [1, 2, 3]
        assert (batch.progress.total, batch.progress.done) == (4, 4)


async def test_an_invalid_request_of_an_iterator_fails_alone(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    some = [requests(1)[0], ImageRequest(prompt="", width=64), *requests(3)[1:]]
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(iter(some))
        outcomes = {outcome.index: outcome async for outcome in batch}
    assert [isinstance(outcomes[index], Done) for index in range(4)] == [True, False, True, True]
    failed = outcomes[1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidRequest)


async def test_an_error_of_the_iterator_ends_the_batch_and_is_raised_to_its_reader(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    def some() -> Iterator[ImageRequest]:
        yield requests(1)[0]
        raise ZeroDivisionError("a bug of the caller")

    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(some())
        with pytest.raises(ZeroDivisionError, match="a bug of the caller"):
            _ = [outcome async for outcome in batch]
        assert batch.over


@pytest.mark.parametrize("no_source", [b"a fox", None, 7])
async def test_anything_but_requests_is_refused_before_anything_is_recorded(
    batch_server: "BatchServer", tmp_path: Path, no_source: object
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        with pytest.raises(InvalidRequest, match=r"^A batch takes a list or an iterator of ImageRequest"):
            await studio.batch(no_source)  # type: ignore[arg-type]  # that is the fault
        assert await studio.batches() == ()


async def test_a_list_with_anything_but_prompts_is_refused_with_the_position(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    mixed = [*requests(2), 7]
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        with pytest.raises(InvalidRequest, match=r"^A prompt is 7, which is neither text nor") as caught:
            await studio.batch(mixed)  # type: ignore[arg-type]  # that is the fault
        assert caught.value.__notes__ == ["This is prompt 2 of the list, counted from 0."]
        assert await studio.batches() == ()


async def test_a_wrong_item_of_an_iterator_stops_the_batch_and_earlier_requests_are_generated(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    mixed = [*requests(2), {"text": "a fox"}]
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(iter(mixed))
        with pytest.raises(InvalidRequest, match=r"^A prompt has no field 'text'"):
            [outcome async for outcome in batch]
        found = await studio.find_batch(batch.id)
        assert found.state == "stopped"
        assert "no field 'text'" in (found.cause or "")
