"""Ranking the images of a batch by a score, and keeping the best."""

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.generated_image import GeneratedImage

if TYPE_CHECKING:
    from conftest import BatchServer


def score(image: GeneratedImage) -> float:
    return -abs(image.seed - 12)


async def async_score(image: GeneratedImage) -> float:
    await asyncio.sleep(0)
    return score(image)


class Scorer:
    async def __call__(self, image: GeneratedImage) -> float:
        return score(image)


@pytest.mark.parametrize("given", [score, async_score, Scorer()])
async def test_a_batch_ranks_its_images_and_keeps_the_best(
    batch_server: "BatchServer", tmp_path: Path, given: object
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        batch = studio.batch("a fox", count=20, seed=1, score=given, keep=3, width=64, height=64)  # type: ignore[arg-type]
        assert batch.ranking == ()
        await batch.wait()
        assert [each.score for each in batch.ranking[:4]] == [0, -1, -1, -2]
        assert [(each.image.seed, each.position) for each in batch.ranking[:3]] == [
            (12, 11),
            (11, 10),
            (13, 12),
        ]
        assert {record.seed for record in (await studio.find(kept=True)).pictures} == {11, 12, 13}


async def test_reading_the_outcomes_gives_the_ranking_too(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        batch = studio.batch("a fox", count=3, seed=1, score=lambda image: image.seed, width=64, height=64)
        assert len([outcome async for outcome in batch]) == 3
        assert [each.image.seed for each in batch.ranking] == [3, 2, 1]
        assert (await studio.find(kept=True)).pictures == ()


async def test_the_best_of_any_batch_are_kept_and_the_others_rejected(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        batch = studio.batch("a fox", count=20, seed=1, width=64, height=64)
        best = await studio.keep_best(batch, async_score, most=3, reject_others=True)
        assert [image.seed for image in best] == [12, 11, 13]
        assert {record.seed for record in (await studio.find()).pictures} == {11, 12, 13}
    assert len([*(tmp_path / "rejected").glob("*.png")]) == 17


@pytest.mark.parametrize("given", [math.nan, "good", None])
async def test_a_score_is_a_number(batch_server: "BatchServer", tmp_path: Path, given: object) -> None:
    async with batch_server.studio(tmp_path) as studio:
        batch = studio.batch("a fox", score=lambda _: given, width=64, height=64)  # type: ignore[arg-type,return-value]
        with pytest.raises(InvalidRequest, match="is not a score for image 0"):
            await batch.wait()
        assert len(batch.images) == 1


async def test_keep_needs_a_score(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with batch_server.studio(tmp_path) as studio:
        with pytest.raises(InvalidRequest, match="keep: 3 needs a score"):
            studio.batch("a fox", keep=3)
