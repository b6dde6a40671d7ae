"""Previews are drawn off the event loop, from any source."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from vllm_image_core.errors import BadPicture, InvalidRequest
from vllm_image_core.imaging import preview as previews
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.preview import Axis
from vllm_image_core.storage.index import Index
from vllm_image_core.storage.query import Query
from vllm_image_core.studio_views import ImageSource, StudioViews

if TYPE_CHECKING:
    from conftest import BatchServer

Put = Callable[..., Path]


@pytest.fixture(params=["picture", "path", "text", "bytes", "record"])
def image_source(
    request: pytest.FixtureRequest, small_picture: Picture, put: Put, tmp_path: Path
) -> ImageSource:
    """The same image from each kind of source."""
    path = put(tmp_path / "fox.png", prompt="a red fox")
    [record] = Index(tmp_path).find(Query()).pictures
    ways: dict[str, ImageSource] = {
        "picture": small_picture,
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "record": record,
    }
    return ways[request.param]


async def test_an_image_can_be_shown_from_any_source(
    image_source: ImageSource, small_picture: Picture
) -> None:
    viewer = StudioViews()
    assert await viewer.preview(image_source) == previews.preview(small_picture)
    assert await viewer.contact_sheet([image_source, None], captions=["a", "b"]) == previews.contact_sheet(
        [small_picture, None], captions=["a", "b"]
    )
    x, y = Axis(name="seed", values=["1", "2"]), Axis(name="", values=["4"])
    assert await viewer.xy_grid([image_source, None], x=x, y=y) == previews.xy_grid(
        [small_picture, None], x=x, y=y
    )


async def test_the_limits_and_the_format_are_passed_on(small_picture: Picture) -> None:
    viewer, axis = StudioViews(), Axis(name="", values=["1"])
    small = await viewer.preview(small_picture, longest_side=16, max_bytes=5_000, format="jpeg")
    sheet = await viewer.contact_sheet(
        [small_picture] * 3, first_number=7, longest_side=200, max_bytes=5_000, format="jpeg"
    )
    grid = await viewer.xy_grid(
        [small_picture], x=axis, y=axis, longest_side=200, max_bytes=5_000, format="jpeg"
    )
    assert max(small.width, small.height) == 16
    assert sheet == previews.contact_sheet(
        [small_picture] * 3, first_number=7, longest_side=200, max_bytes=5_000, format="jpeg"
    )
    assert grid == previews.xy_grid(
        [small_picture], x=axis, y=axis, longest_side=200, max_bytes=5_000, format="jpeg"
    )


@pytest.mark.parametrize("wrong", ["", "missing.png", "a\0b", ".", "notes.txt"])
async def test_anything_but_an_image_is_reported_and_leaves_an_empty_place(
    tmp_path: Path, small_picture: Picture, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(BadPicture):
        await StudioViews().preview(wrong)
    assert await StudioViews().contact_sheet([small_picture, wrong]) == previews.contact_sheet(
        [small_picture, None]
    )


async def test_a_file_of_gigabytes_is_not_read_completely(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(BadPicture, match="larger than 268435456 bytes"):
        await StudioViews().preview(tmp_path / "huge.png")


async def test_a_limit_that_nothing_fits_into_is_refused(small_picture: Picture) -> None:
    with pytest.raises(InvalidRequest, match="longest_side"):
        await StudioViews().preview(small_picture, longest_side=15)


async def test_the_event_loop_continues_while_a_preview_is_drawn(
    small_picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()

    def drawn_slowly(picture: Picture) -> Image.Image:
        assert may_end.wait(60)
        return Image.new("RGB", (picture.width, picture.height))

    monkeypatch.setattr(Picture, "pil", drawn_slowly)
    drawing = asyncio.ensure_future(StudioViews().preview(small_picture))
    await asyncio.sleep(0)
    may_end.set()  # only a loop that continues reaches this line
    async with asyncio.timeout(60):
        assert (await drawing).size == small_picture.size


async def test_a_sheet_of_generated_images_says_what_differs(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        images = [await studio.generate("a fox", width=64, height=64, seed=seed) for seed in (1, 2)]
        found = (await studio.find()).pictures
        sheet = await studio.contact_sheet([*images, None])
        assert sheet == await studio.contact_sheet([*images, None], captions=["seed 1", "seed 2", ""])
        assert await studio.contact_sheet(found) == await studio.contact_sheet(
            found, captions=["seed 2", "seed 1"]
        )
