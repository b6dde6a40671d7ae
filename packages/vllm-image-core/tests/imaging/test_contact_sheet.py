"""Contact sheets: limits are kept, and each image has a readable number."""

import pytest
from coloured_pictures import COLOURS, RGB, colour_at, near, noise, plain
from PIL import Image
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.preview import Axis, PreviewFormat, contact_sheet, xy_grid

PAPER = (255, 255, 255)


@pytest.mark.parametrize("count", [1, 2, 7, 20])
@pytest.mark.parametrize("shape", [(300, 300), (480, 270), (200, 400)])
def test_a_sheet_shows_each_image_in_order_with_its_number(count: int, shape: tuple[int, int]) -> None:
    pictures = [plain(COLOURS[n % 7], *shape) for n in range(count)]
    sheet = contact_sheet(pictures, longest_side=1200)
    image = sheet.pil().convert("RGB")
    assert max(image.size) <= 1200
    places = [(x, y) for y in centres(image, vertical=True) for x in centres(image, vertical=False)]
    for number, place in enumerate(places[:count]):
        assert near(image, place, RGB[number % 7]), number
    for place in places[count:]:
        assert near(image, place, PAPER)


def centres(image: Image.Image, *, vertical: bool) -> list[int]:
    """The middles of the cells along a line through the first column or row: runs that are no paper."""
    length = image.height if vertical else image.width
    colours = [colour_at(image, 70, at) if vertical else colour_at(image, at, 70) for at in range(length)]
    paper = [min(colour) > 235 for colour in colours]
    edges = [at for at in range(1, length) if paper[at] != paper[at - 1]]
    return [
        (start + end) // 2 for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start > 30
    ]


@pytest.mark.parametrize("count", [1, 20, 100])
def test_numbers_are_readable_and_stand_out(count: int) -> None:
    image = contact_sheet([plain("gray")] * count, longest_side=1000).pil().convert("L")
    badge = image.crop((8, 8, 8 + 18, 8 + 18))
    darkest, brightest = badge.getextrema()
    assert isinstance(darkest, int)
    assert isinstance(brightest, int)
    assert darkest < 50
    assert brightest > 180


def test_numbers_start_where_requested() -> None:
    one, other = (contact_sheet([plain("gray")], first_number=first) for first in (1, 7))
    assert one.size == other.size
    assert one.bytes != other.bytes


def test_a_missing_or_broken_image_leaves_an_empty_cell() -> None:
    whole = plain("red")
    broken = Picture(parts=(whole.bytes[:60],), format="png", width=300, height=300)
    assert contact_sheet([whole, None]).bytes == contact_sheet([whole, broken]).bytes
    assert contact_sheet([None, None]).size.width > 0


def test_captions_get_the_space_they_need() -> None:
    pictures = [plain("red")] * 2
    none = contact_sheet(pictures)
    short = contact_sheet(pictures, captions=["seed 1", "seed 2"])
    long = contact_sheet(pictures, captions=["seed 1", "a lighthouse over a stormy sea, in oil " * 3])
    empty = contact_sheet(pictures, captions=["", ""])
    assert none.height < short.height < long.height
    assert empty.bytes == none.bytes


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_a_sheet_keeps_its_limits_whatever_it_shows(kind: PreviewFormat) -> None:
    sheet = contact_sheet(
        [noise(200, 150)] * 9, captions=["x"] * 9, longest_side=900, max_bytes=20_000, format=kind
    )
    assert Picture.check(sheet.bytes) == sheet
    assert len(sheet.bytes) <= 20_000
    assert max(sheet.width, sheet.height) <= 900


@pytest.mark.parametrize("side", [16, 40, 100])
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (4, 3), (1, 20), (256, 1), (16, 16)])
def test_the_longest_side_is_kept_even_if_letters_and_gaps_need_more(
    side: int, columns: int, rows: int
) -> None:
    pictures = [plain("navy", 30, 20)] * (columns * rows)
    sheet = contact_sheet(pictures, captions=["a long caption"] * len(pictures), longest_side=side)
    axes = [
        Axis(name=name, values=[f"value {n}" for n in range(count)])
        for name, count in (("x", columns), ("y", rows))
    ]
    grid = xy_grid(pictures, x=axes[0], y=axes[1], longest_side=side)
    for drawn in (sheet, grid):
        assert max(drawn.width, drawn.height) <= side


@pytest.mark.parametrize("pictures", [[], [None] * 257])
def test_a_sheet_has_1_to_256_images(pictures: list[Picture | None]) -> None:
    with pytest.raises(InvalidRequest, match="Allowed: 1 to 256 images"):
        contact_sheet(pictures)


def test_each_image_has_one_caption() -> None:
    with pytest.raises(InvalidRequest, match="There are 1 captions for 2 images"):
        contact_sheet([plain("red")] * 2, captions=["one"])


@pytest.mark.parametrize("number", [-1, 1_000_000, "1", True])
def test_a_first_number_that_leaves_no_room_is_refused(number: object) -> None:
    with pytest.raises(InvalidRequest):
        contact_sheet([plain("red")], first_number=number)  # type: ignore[arg-type]  # what a caller may give
