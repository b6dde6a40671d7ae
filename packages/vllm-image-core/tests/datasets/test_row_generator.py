"""An image is in the store before its row; nothing in the store is generated again; a failure is a row."""

import asyncio
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vllm_image_core.datasets.image_row import ImageRow
from vllm_image_core.datasets.job_id import JobId
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.row_generator import RowGenerator
from vllm_image_core.datasets.row_parts import FinishedIds
from vllm_image_core.errors import RunStopped
from vllm_image_core.provenance.recall import recall
from vllm_omni_client.errors import BadRequest, OmniError, ServerUnreachable

if TYPE_CHECKING:
    from conftest import BatchServer

pytest.importorskip("obstore")


def opened(
    server: "BatchServer", folder: Path, *, finished: FinishedIds | None = None, outage_seconds: float = 5.0
) -> RowGenerator:
    store = ObjectStore(folder)
    return RowGenerator([server], store, finished=finished, outage_seconds=outage_seconds, probe_seconds=0.01)


async def generated(generator: RowGenerator, **values: object) -> ImageRow:
    row: Mapping[str, object] = {"prompt": "a fox", **values}
    found = await generator.generate(row)
    assert found is not None
    return found


async def test_a_row_describes_an_image_that_is_in_the_store(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with opened(batch_server, tmp_path) as generator:
        row = await generated(generator, seed=3)

    assert row.uri is not None
    path = Path(row.uri.removeprefix("file://"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
    assert (row.status, row.seed, row.width, row.error) == ("done", 3, 64, None)
    assert row.job_id is not None
    assert path == tmp_path / "images" / path.name[:2] / path.name[2:4] / f"{row.job_id.hex()}.png"
    assert recall(path).request.prompt == "a fox"


async def test_an_image_in_the_store_is_not_generated_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with opened(batch_server, tmp_path) as generator:
        first = await generated(generator)
    async with opened(batch_server, tmp_path) as generator:
        second = await generated(generator)

    assert second == replace(first, status="reused", seconds=second.seconds)
    assert batch_server.sent == ["a fox"]


async def test_equal_rows_at_the_same_time_give_one_image(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with opened(batch_server, tmp_path) as generator:
        rows = await asyncio.gather(*(generated(generator) for _ in range(4)), generated(generator, copy=1))

    assert sorted(row.status for row in rows) == ["done", "done", "reused", "reused", "reused"]
    assert len(batch_server.sent) == 2


async def test_a_row_of_a_finished_image_is_skipped(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with opened(batch_server, tmp_path) as generator:
        row = await generated(generator)
    assert row.job_id is not None

    async with opened(batch_server, tmp_path, finished=FinishedIds([JobId(row.job_id)])) as generator:
        assert await generator.generate({"prompt": "a fox"}) is None


async def test_a_truncated_file_is_generated_again(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with opened(batch_server, tmp_path) as generator:
        first = await generated(generator)
    assert first.uri is not None
    path = Path(first.uri.removeprefix("file://"))
    path.write_bytes(path.read_bytes()[:50])

    async with opened(batch_server, tmp_path) as generator:
        second = await generated(generator)

    assert second.status == "done"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == second.sha256


async def test_an_invalid_request_gives_a_failed_row(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with opened(batch_server, tmp_path) as generator:
        row = await generated(generator, width=-1)

    assert (row.status, row.job_id, row.uri) == ("failed", None, None)
    assert row.error is not None
    assert row.error.startswith("width: -1 is out of range")
    assert batch_server.sent == []


async def test_a_refused_request_gives_a_failed_row(batch_server: "BatchServer", tmp_path: Path) -> None:
    batch_server.fails = lambda _prompt, _times: BadRequest("no foxes", status=400)
    async with opened(batch_server, tmp_path) as generator:
        row = await generated(generator)

    assert (row.status, row.error) == ("failed", "no foxes")
    assert row.job_id is not None


async def test_an_outage_of_the_servers_fails_no_row(batch_server: "BatchServer", tmp_path: Path) -> None:
    def away(_prompt: str, times: int) -> OmniError | None:
        return ServerUnreachable("nobody there", reason="refused") if times < 2 else None

    batch_server.fails = away
    async with opened(batch_server, tmp_path) as generator:
        row = await generated(generator)

    assert row.status == "done"
    assert len(batch_server.sent) == 3


async def test_a_long_outage_stops_the_run(batch_server: "BatchServer", tmp_path: Path) -> None:
    batch_server.healthy = False
    batch_server.fails = lambda _prompt, _times: ServerUnreachable("nobody there", reason="refused")
    async with opened(batch_server, tmp_path, outage_seconds=0.05) as generator:
        with pytest.raises(RunStopped, match="The run has stopped: nobody there"):
            await generated(generator)


async def test_an_image_waits_for_an_unavailable_store(batch_server: "BatchServer", tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with opened(batch_server, out) as generator:
        batch_server.gate.clear()
        running = asyncio.ensure_future(generated(generator))
        await batch_server.came(1)
        out.rmdir()
        out.write_bytes(b"in the way")
        batch_server.gate.set()
        await asyncio.wait([running], timeout=0.2)
        assert not running.done()
        out.unlink()
        row = await running

    assert row.status == "done"
    assert len(batch_server.sent) == 1


async def refused_by_the_store(batch_server: "BatchServer", out: Path, *, blocked: Path) -> ImageRow:
    """Generate a row while a file takes the place of the folder of images, or of the one around it."""
    async with opened(batch_server, out, outage_seconds=0.05) as generator:
        batch_server.gate.clear()
        running = asyncio.ensure_future(generated(generator))
        await batch_server.came(1)
        out.rmdir()
        if blocked != out:
            blocked.rmdir()
        blocked.write_bytes(b"in the way")
        batch_server.gate.set()
        return await running


@pytest.mark.parametrize("beside", [True, False])
async def test_an_image_that_the_store_refuses_is_kept_next_to_it_if_possible(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, beside: bool
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    out = tmp_path / "made" / "out"
    row = await refused_by_the_store(batch_server, out, blocked=out if beside else out.parent)

    assert row.status == "failed"
    assert row.job_id is not None
    [kept] = tmp_path.rglob("*.png")
    assert kept.is_relative_to(tmp_path / ("made" if beside else "temporary"))
    assert row.job_id.hex() in kept.name
    assert f"The image is in {kept}." in (row.error or "")


async def test_the_row_of_an_image_that_no_folder_takes_says_so(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    out = tmp_path / "made" / "out"
    row = await refused_by_the_store(batch_server, out, blocked=out.parent)

    assert row.status == "failed"
    assert "It could not be written to the spill folder either: No such file" in (row.error or "")
