import asyncio
import base64
import io
import random
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from mcp.types import ImageContent
from PIL import Image
from vllm_image_core.imaging.picture import Picture
from vllm_image_mcp.results import previews
from vllm_image_mcp.results.previews import Drawing, PreviewSize, SheetEntry, draw_preview, one_picture, sheet

ROOM = 700_000


def noise(folder: Path, name: str, *, side: int) -> Path:
    """An image that no encoder can compress."""
    path = folder / name
    Image.frombytes("RGB", (side, side), random.Random(name).randbytes(3 * side * side)).save(path)
    return path


def opened(content: ImageContent) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(content.data)))


def places(parameters: Sequence[Mapping[str, str | int | float]], path: Path | None) -> list[SheetEntry]:
    return [
        SheetEntry(number=number, path=path, prompt="a fox", parameters=each)
        for number, each in enumerate(parameters)
    ]


@pytest.mark.parametrize(("size", "side", "most"), [("small", 768, 150_000), ("large", 1536, 450_000)])
async def test_one_image_keeps_its_side_and_its_bytes_whatever_it_shows(
    tmp_path: Path, size: PreviewSize, side: int, most: int
) -> None:
    content = await draw_preview(one_picture(noise(tmp_path, "a.png", side=2048)), size, room=ROOM)
    assert content
    assert content.mime_type == "image/jpeg"
    assert most // 2 < len(content.data) <= most
    assert max(opened(content).size) <= side


async def test_an_image_that_compresses_has_the_full_side(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (1024, 512), 200).save(path)
    content = await draw_preview(one_picture(path), "small", room=ROOM)
    assert content
    assert opened(content).size == (768, 384)


async def test_a_sheet_of_twenty_keeps_its_bytes(tmp_path: Path) -> None:
    paths = [noise(tmp_path, f"{number}.png", side=512) for number in range(20)]
    shown = [
        SheetEntry(number=number, path=path, prompt=f"fox {number}", parameters={})
        for number, path in enumerate(paths)
    ]
    content = await draw_preview(sheet(shown), "small", room=ROOM)
    assert content
    assert 150_000 < len(content.data) <= 300_000
    assert max(opened(content).size) <= 1280


async def test_a_preview_takes_no_more_space_than_there_is(tmp_path: Path) -> None:
    drawing = one_picture(noise(tmp_path, "a.png", side=1024))
    content = await draw_preview(drawing, "small", room=40_000)
    assert content
    assert len(content.data) <= 40_000
    assert await draw_preview(drawing, "small", room=5_000) is None


async def test_a_missing_or_damaged_image_has_no_preview_and_an_empty_cell_on_a_sheet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    gone = tmp_path / "gone.png"
    assert await draw_preview(one_picture(gone), "small", room=ROOM) is None
    assert await draw_preview(one_picture(tmp_path / "damaged.png"), "small", room=ROOM) is None
    assert "No preview could be drawn" in caplog.text
    whole = noise(tmp_path, "a.png", side=64)
    shown = [
        SheetEntry(number=number, path=path, prompt=str(number), parameters={})
        for number, path in enumerate([whole, gone, tmp_path / "damaged.png", None])
    ]
    assert await draw_preview(sheet(shown), "small", room=ROOM)


async def test_a_preview_is_drawn_in_a_thread(tmp_path: Path) -> None:
    threads: list[int] = []

    def draw(side: int, most: int) -> Picture:
        threads.append(threading.get_ident())
        return Picture.check((noise(tmp_path, "a.png", side=64)).read_bytes())

    async with asyncio.timeout(60):
        assert await draw_preview(Drawing(draw, one_picture(tmp_path).limits), "small", room=ROOM)
    assert threads
    assert threads[0] != threading.get_ident()


def test_different_prompts_give_a_contact_sheet_with_the_prompts() -> None:
    shown = [
        SheetEntry(number=number, path=None, prompt=f"fox {number}", parameters={"seed": number})
        for number in (0, 1)
    ]
    assert previews._captions(shown) == ["fox 0", "fox 1"]


def test_the_captions_of_one_prompt_are_what_differs() -> None:
    cells = [{"seed": seed, "width": 64} for seed in range(7)]
    assert previews._captions(places(cells, None)) == [f"seed {seed}" for seed in range(7)]
