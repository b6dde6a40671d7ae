"""A dataset is generated once, whatever stops a run."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vllm_image_core.datasets.dataset import generate_dataset
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.progress import DatasetProgress
from vllm_image_core.datasets.row_parts import read_rows
from vllm_image_core.errors import InvalidRequest, RunStopped
from vllm_omni_client.errors import BadRequest, OmniError, ServerUnreachable

if TYPE_CHECKING:
    from conftest import BatchServer

pytest.importorskip("obstore")
pytest.importorskip("pyarrow")

PROMPTS = [f"fox {number}" for number in range(20)]


def images(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.png"))


def test_each_row_has_an_image_and_each_image_a_row(batch_server: "BatchServer", tmp_path: Path) -> None:
    seen: list[DatasetProgress] = []

    run = generate_dataset(PROMPTS, tmp_path, servers=batch_server, on_progress=seen.append)

    assert (run.progress.done, run.progress.failed, images(tmp_path)) == (20, 0, 20)
    rows = asyncio.run(read_rows(ObjectStore(tmp_path)))
    assert len({row.job_id for row in rows}) == len(rows) == 20
    assert seen[-1].ended_count == 20
    assert "generated           20" in str(run)


def test_the_same_call_again_generates_nothing(batch_server: "BatchServer", tmp_path: Path) -> None:
    generate_dataset(PROMPTS[:12], tmp_path, servers=batch_server)

    run = generate_dataset(PROMPTS, tmp_path, servers=batch_server)

    assert (run.progress.done, run.progress.skipped) == (8, 12)
    assert sorted(batch_server.sent) == sorted(PROMPTS)


def test_the_next_run_retries_failed_rows(batch_server: "BatchServer", tmp_path: Path) -> None:
    def refuse(prompt: str, times: int) -> OmniError | None:
        return BadRequest("not now", status=400) if prompt == PROMPTS[3] and not times else None

    batch_server.fails = refuse
    first = generate_dataset(PROMPTS, tmp_path, servers=batch_server)
    second = generate_dataset(PROMPTS, tmp_path, servers=batch_server)

    assert (first.progress.done, first.progress.failed) == (19, 1)
    assert (second.progress.done, second.progress.failed) == (1, 0)
    assert len(asyncio.run(read_rows(ObjectStore(tmp_path)))) == 20


def test_a_stopped_run_has_written_its_rows(batch_server: "BatchServer", tmp_path: Path) -> None:
    def away(prompt: str, _times: int) -> OmniError | None:
        is_late = prompt in PROMPTS[10:]
        return ServerUnreachable("nobody there", reason="refused") if is_late else None

    batch_server.fails = away
    batch_server.healthy = False
    with pytest.raises(RunStopped, match="nobody there"):
        generate_dataset(PROMPTS, tmp_path, servers=batch_server, max_in_flight=2, outage_timeout=0.1)
    before = len(asyncio.run(read_rows(ObjectStore(tmp_path))))
    batch_server.fails = lambda _prompt, _times: None
    run = generate_dataset(PROMPTS, tmp_path, servers=batch_server)

    assert before >= 8
    assert run.progress.skipped == before
    assert all(batch_server.sent.count(prompt) == 1 for prompt in PROMPTS[:10])
    assert len(asyncio.run(read_rows(ObjectStore(tmp_path)))) == 20


def test_repeated_rows_are_one_image(batch_server: "BatchServer", tmp_path: Path) -> None:
    run = generate_dataset([*PROMPTS[:3], *PROMPTS[:3]], tmp_path, servers=batch_server)

    assert (run.progress.done, run.progress.skipped, images(tmp_path)) == (3, 3, 3)


def test_it_works_inside_a_running_event_loop(batch_server: "BatchServer", tmp_path: Path) -> None:
    async def cell() -> int:
        return generate_dataset(PROMPTS[:2], tmp_path, servers=batch_server).progress.done

    assert asyncio.run(cell()) == 2


def test_an_unknown_engine_is_refused(batch_server: "BatchServer", tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"engine: 'spark' is not an engine\. Allowed: local, daft, ray"):
        generate_dataset(PROMPTS, tmp_path, servers=batch_server, engine="spark")  # type: ignore[arg-type]  # unchecked


def test_a_backend_cannot_be_sent_to_another_process(batch_server: "BatchServer", tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"Allowed: the servers' URLs"):
        generate_dataset(PROMPTS, tmp_path, servers=batch_server, engine="daft")
