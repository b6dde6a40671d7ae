"""The results of a batch: iterated plainly and asynchronously, and as a data frame."""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from recorded_batches import requests
from vllm_image_core import BlockingStudio, Done, ImageRequest, InvalidRequest
from vllm_image_core.errors import MissingPackage
from vllm_omni_client.errors import BadReply

if TYPE_CHECKING:
    from vllm_image_core.frames import FrameBackend

    from conftest import BatchServer


async def test_results_can_be_read_in_a_plain_loop_once_the_batch_is_over(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, _times: BadReply("junk") if prompt == "fox 1" else None
    async with batch_server.studio(tmp_path) as studio:
        batch = studio.batch(requests(40))
        with pytest.raises(InvalidRequest, match="is not over") as caught:
            iter(batch.results())
        assert "async for" in caught.value.next_step
        await batch.wait()
        plain = list(batch.results())
        awaited = [outcome async for outcome in batch.results()]
    assert [outcome.index for outcome in plain] == list(range(40))
    assert [isinstance(outcome, Done) for outcome in plain] == [place != 1 for place in range(40)]
    assert [outcome.item.seed for outcome in plain] == [outcome.item.seed for outcome in awaited]
    assert f"Results of {batch.id}: 39 done, 1 failed" in str(batch.results())


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
async def test_a_frame_has_the_paths_and_the_parameters_that_were_sent(
    batch_server: "BatchServer", tmp_path: Path, backend: "FrameBackend"
) -> None:
    pytest.importorskip("narwhals")
    pytest.importorskip(backend)
    batch_server.fails = lambda prompt, _times: BadReply("junk") if prompt == "fox 1" else None
    async with batch_server.studio(tmp_path) as studio:
        batch = studio.batch(requests(3))
        before = batch.results().to_frame(backend)
        await batch.wait()
        resumed = await studio.resume(batch.id)
        frames = [each.results().to_frame(backend) for each in (batch, resumed)]
    assert type(before).__module__.partition(".")[0] == backend
    narwhals = importlib.import_module("narwhals.stable.v2")
    for frame in frames:
        rows: list[dict[str, Any]] = narwhals.from_native(frame).rows(named=True)
        assert [row["index"] for row in rows] == [0, 1, 2]
        assert [row["prompt"] for row in rows] == ["fox 0", "fox 1", "fox 2"]
        assert [Path(row["path"]).is_file() for row in rows if not isinstance(row["error"], str)] == [
            True,
            True,
        ]
        assert rows[1]["error_kind"] == "BadReply"
        assert "junk" in rows[1]["error"]
        assert (rows[0]["num_inference_steps"], rows[0]["seed"]) == (4, batch.images[0].seed)
        assert (rows[0]["width"], rows[0]["height"]) == (64, 64)


def test_a_blocking_batch_gives_a_frame(batch_server: "BatchServer", tmp_path: Path) -> None:
    pandas: Any = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    with BlockingStudio(batch_server, output_dir=tmp_path) as studio:
        batch = studio.batch(
            [ImageRequest(prompt="a fox", width=64, height=64, seed=seed) for seed in (1, 2)]
        )
        assert [outcome.index for outcome in batch.results()] == [0, 1]
        frame = batch.results().to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["seed"]) == [1, 2]


@pytest.mark.parametrize("missing", ["narwhals.stable.v2", "pandas"])
async def test_without_the_packages_the_error_says_what_to_install(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    pytest.importorskip("narwhals")
    monkeypatch.setitem(sys.modules, missing, None)
    async with batch_server.studio(tmp_path) as studio:
        with pytest.raises(MissingPackage, match=f"{missing.partition('.')[0]} is not installed") as caught:
            studio.batch(requests(1)).results().to_frame("pandas")
    assert caught.value.next_step == 'Install it: pip install "vllm-image-core[frames]".'
