"""A finished image has one row, in files that are written once."""

from pathlib import Path

import pytest
from vllm_image_core.datasets.image_row import ImageRow
from vllm_image_core.datasets.job_id import JobId
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.row_parts import FinishedIds, RowParts, read_finished, read_rows

pytest.importorskip("obstore")
pytest.importorskip("pyarrow")


def key(number: int) -> JobId:
    return JobId(number.to_bytes(16, "big"))


def row(number: int, status: str = "done") -> ImageRow:
    return ImageRow(job_id=key(number), seed=number, status=status)  # type: ignore[arg-type]  # one of a parameter


async def test_rows_are_written_together_and_read_in_the_order_of_their_ids(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    parts = RowParts(store, "run", FinishedIds(), most_rows=2)

    for number in (3, 1, 2):
        assert await parts.add(row(number))
    await parts.flush()

    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == [
        "run-00000.parquet",
        "run-00001.parquet",
    ]
    assert await read_rows(store) == [row(1), row(2), row(3)]


async def test_an_image_has_one_row_however_often_it_appears(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    parts = RowParts(store, "run", FinishedIds([key(1)]))

    assert not await parts.add(row(1, "reused"))
    assert await parts.add(row(2))
    assert not await parts.add(row(2, "reused"))
    await parts.flush()

    assert await read_rows(store) == [row(2)]


async def test_a_failed_row_is_not_finished(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    parts = RowParts(store, "run", FinishedIds())

    await parts.add(row(1, "failed"))
    await parts.flush()

    assert [path.name for path in (tmp_path / "failures").iterdir()] == ["run-00000.parquet"]
    assert key(1) not in await read_finished(store)


async def test_rows_that_have_waited_long_are_written(tmp_path: Path) -> None:
    now = 0.0
    store = ObjectStore(tmp_path)
    parts = RowParts(store, "run", FinishedIds(), timer=lambda: now)

    await parts.add(row(1))
    assert await read_rows(store) == []
    now = 31.0
    await parts.add(row(2))

    assert await read_rows(store) == [row(1), row(2)]


async def test_in_a_long_run_rows_wait_longer_so_that_there_are_fewer_files(tmp_path: Path) -> None:
    now = 0.0
    store = ObjectStore(tmp_path)
    parts = RowParts(store, "run", FinishedIds(), timer=lambda: now)
    now = 86_400.0
    await parts.add(row(1))

    now += 60.0
    await parts.add(row(2))
    assert await read_rows(store) == [row(1)]
    now += 30.0
    await parts.add(row(3))

    assert await read_rows(store) == [row(1), row(2), row(3)]


def test_the_finished_ids_are_those_that_were_given_or_added() -> None:
    numbers = {0, 1, 255, 2**64, 2**127, 2**128 - 1}
    finished = FinishedIds(map(key, numbers))

    assert all(key(number) in finished for number in numbers)
    assert not any(key(number) in finished for number in (2, 2**64 - 1, 2**128 - 2))
    assert not finished.add(key(255))
    assert finished.add(key(2))
    assert key(2) in finished
    assert len(finished) == 7
