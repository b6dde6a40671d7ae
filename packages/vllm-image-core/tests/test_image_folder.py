"""A folder of images is searched, rated, shown and recalled without a server."""

from pathlib import Path

import pytest
from drawing_server import Server, studio_of
from vllm_image_core.errors import InvalidRequest, UnknownBatch
from vllm_image_core.image_folder import ImageFolder
from vllm_image_core.requests.image_request import ImageRequest


async def test_a_folder_is_read_without_its_server(tmp_path: Path) -> None:
    server = Server()
    async with studio_of(server, tmp_path) as studio:
        batch = studio.batch(["a red fox", "an owl"], width=64, height=64, count=2)
        await batch.wait()
    folder = ImageFolder(tmp_path)
    [summary] = await folder.batches()
    found = await folder.find_batch(summary.id)
    assert (summary.id, found.done) == (batch.id, 4)
    kept = await folder.rate(batch.id, indexes=[2], verdict="keep")
    [owl] = (await folder.find(kept=True)).pictures
    assert (kept, owl.prompt) == ((owl.path,), "an owl")
    assert (await folder.recall(owl.path)).request == ImageRequest(
        prompt="an owl", width=64, height=64, num_inference_steps=4, guidance_scale=1.0, seed=owl.seed
    )
    assert (await folder.draw_grid(batch)).paths == tuple(item.path for item in found.items)
    assert f"folder  {tmp_path}"[:40] in str(folder)
    assert len(server.requests) == 4


async def test_a_new_folder_is_empty(tmp_path: Path) -> None:
    folder = ImageFolder(tmp_path / "new")
    assert (await folder.batches(), (await folder.find()).pictures) == ((), ())
    with pytest.raises(UnknownBatch):
        await folder.find_batch("batch_1")
    assert not folder.output_dir.exists()


@pytest.mark.parametrize("limit", [0, 1_000_001, True, "5"])
async def test_a_wrong_limit_is_refused(tmp_path: Path, limit: object) -> None:
    with pytest.raises(InvalidRequest, match="an integer from 1 to 1000000"):
        await ImageFolder(tmp_path).batches(limit)  # type: ignore[arg-type]  # unchecked
    with pytest.raises(InvalidRequest, match="limit: "):
        await ImageFolder(tmp_path).find_batch("batch_1", limit=limit)  # type: ignore[arg-type]  # unchecked
