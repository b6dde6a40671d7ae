"""Finding images by what people decided about them, and requests for more of those."""

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.storage import full_text, search
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.search import Search

if TYPE_CHECKING:
    from conftest import BatchServer


async def test_images_of_a_batch_are_found_by_position_and_not_generated_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        batch = await studio.batch("a fox", count=6, width=64, height=64)
        await batch.wait()
        kept = await studio.rate(batch.id, indexes=[2, 5], verdict="keep", stars=5)
        [rejected] = await studio.rate(batch.id, indexes=[0], verdict="reject")
        assert {*kept} == {record.path for record in (await studio.find(kept=True)).pictures}
        assert {*kept} == {record.path for record in (await studio.find(stars=4, kept=True)).pictures}
        assert len((await studio.find()).pictures) == 5
        assert (await studio.find_batch(batch.id)).items[0].path == rejected
    async with batch_server.studio(tmp_path) as studio:
        again = await studio.resume(batch.id)
        await again.wait()
        assert again.images[0].path == rejected
        assert len(batch_server.sent) == 6


async def test_an_image_that_is_tagged_later_is_found_by_that_tag_alone(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        fox = await studio.generate("a fox", width=64, height=64, tag="draft")
        owl = await studio.generate("an owl", width=64, height=64, tag="draft")
        await studio.rate([fox], tag="hero", stars=4)
        [found] = (await studio.find(tag="hero")).pictures
        assert (found.path, found.tag, found.stars, found.kept) == (fox.path, "hero", 4, False)
        assert [each.path for each in (await studio.find(tag="draft")).pictures] == [owl.path]
        await studio.rate([owl], tag="")
        assert (await studio.find(tag="draft")).pictures == ()
        assert {each.tag for each in (await studio.find()).pictures} == {"hero", None}


def no_fts(_: sqlite3.Connection) -> bool:
    """As in a Python whose SQLite was built without FTS5."""
    return False


@pytest.mark.parametrize("fts", [True, False])
async def test_a_tag_is_found_by_its_words_whenever_it_was_given(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fts: bool
) -> None:
    if not fts:
        monkeypatch.setattr(full_text, "prepare", no_fts)
    async with batch_server.studio(tmp_path) as studio:
        fox = await studio.generate("a fox", width=64, height=64, tag="draft")
        owl = await studio.generate("an owl", width=64, height=64, tag="draft")
        await studio.rate([fox], tag="home page hero")
        for words, found in {"hero": [fox], "fox page": [fox], "draft": [owl], "owl hero": []}.items():
            pictures = (await studio.find(words)).pictures
            assert [each.path for each in pictures] == [each.path for each in found]
        await studio.rate([fox, owl], tag="")
        assert [(await studio.find(words)).pictures for words in ("hero", "draft")] == [(), ()]
        assert [each.path for each in (await studio.find("fox")).pictures] == [fox.path]


async def test_rejected_images_are_found_in_the_bin_with_their_ratings(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        fox = await studio.generate("a fox", width=64, height=64)
        await studio.generate("an owl", width=64, height=64)
        [moved] = await studio.rate([fox], verdict="reject", stars=1)
        [found] = (await studio.find(rejected=True)).pictures
        assert (found.path, found.prompt, found.stars) == (moved, "a fox", 1)
        assert (await studio.find(rejected=True, stars=2)).pictures == ()
        assert [each.prompt for each in (await studio.find()).pictures] == ["an owl"]
        await studio.rate([found], verdict="clear")
        assert (await studio.find(rejected=True)).pictures == ()


async def test_more_like_this_gives_the_settings_of_kept_images_with_new_seeds(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        fox = await studio.generate("a fox", width=64, height=64, num_inference_steps=3, filename="fox")
        owl = await studio.generate("an owl", width=64, height=64)
        await studio.rate([fox], verdict="keep")
        requests = await studio.more_like(count=3)
        assert {(each.prompt, each.width, each.height, each.num_inference_steps) for each in requests} == {
            ("a fox", 64, 64, 3)
        }
        assert len({fox.seed, *(each.seed for each in requests)}) == 4
        more = await studio.batch(requests)
        await more.wait()
        assert len(more.images) == 3
        assert [each.prompt for each in await studio.more_like([owl.path])] == ["an owl"]


async def test_more_like_this_reads_as_many_images_as_there_are(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_LIMIT", 2)
    async with batch_server.studio(tmp_path) as studio:
        batch = await studio.batch("a fox", count=5, width=64, height=64)
        await batch.wait()
        await studio.rate(batch.id, indexes=range(5), verdict="keep")
        assert len(await studio.more_like()) == 5


async def test_without_kept_images_more_like_this_has_nothing_to_start_from(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        await studio.generate("a fox", width=64, height=64)
        with pytest.raises(InvalidRequest, match="No image was found whose file says how it was made"):
            await studio.more_like()


def test_kept_images_are_never_in_the_bin(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="either kept or rejected"):
        Search(tmp_path).find(Query(), kept=True, rejected=True)
    with pytest.raises(InvalidRequest, match="stars: 6 is out of range"):
        Search(tmp_path).find(Query(), stars=6)
