"""Grids of images under their labels."""

import pytest
from coloured_pictures import COLOURS, RGB, near, noise, plain
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.preview import Axis, xy_grid


def test_a_grid_shows_its_images_row_by_row_under_their_labels() -> None:
    pictures = [plain(colour) for colour in COLOURS[:6]]
    grid = xy_grid(pictures, x=Axis("seed", [1, 2, 3]), y=Axis("steps", ["4", "28"]))
    image = grid.pil().convert("RGB")
    right, bottom = image.width - 20, image.height - 20
    step = 300 + max(4, 1536 // 160)
    for number, wanted in enumerate(RGB[:6]):
        row, column = divmod(number, 3)
        assert near(image, (right - (2 - column) * step, bottom - (1 - row) * step), wanted)


def test_blocks_of_rows_have_headings_above_them() -> None:
    pictures = [plain(colour) for colour in COLOURS[:6]]
    x, y = Axis("seed", [1, 2, 3]), Axis("steps", [4])
    image = xy_grid(pictures, x=x, y=y, z=Axis("prompt", ["a fox", "an owl"])).pil().convert("RGB")
    flat = xy_grid(pictures, x=Axis("seed", [1, 2, 3]), y=Axis("steps", [4, 4])).pil()
    assert image.height - flat.height > 2 * 12  # two headings
    right, bottom = image.width - 20, image.height - 20
    step = 300 + max(4, 1536 // 160)
    for column, wanted in enumerate(RGB[3:6]):
        assert near(image, (right - (2 - column) * step, bottom), wanted)
    with pytest.raises(InvalidRequest, match="6 images for 9 cells"):
        xy_grid(pictures, x=x, y=y, z=Axis("prompt", [1, 2, 3]))


@pytest.mark.parametrize(
    "label", ["7", "a lighthouse over a stormy sea, in oil, " * 5, "雪の中の狐", "", "x" * 400]
)
def test_a_label_of_any_length_and_script_keeps_the_grid_within_its_limits(label: str) -> None:
    axis = Axis(name=label, values=[label, "other"])
    grid = xy_grid([noise(256, 256)] * 4, x=axis, y=axis, longest_side=640, max_bytes=60_000)
    assert Picture.check(grid.bytes) == grid
    assert len(grid.bytes) <= 60_000
    assert max(grid.width, grid.height) <= 640
    assert min(grid.width, grid.height) > 300


def test_a_grid_may_have_empty_cells() -> None:
    axis = Axis(name="seed", values=["1", "2"])
    assert xy_grid([plain("red"), None], x=axis, y=Axis(name="", values=["a"])).width > 300


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(3, 2, 2), (5, 2, 2), (0, 0, 1), (0, 1, 0), (289, 17, 17)]
)
def test_a_grid_has_one_image_for_each_pair(count: int, columns: int, rows: int) -> None:
    with pytest.raises(InvalidRequest):
        xy_grid(
            [None] * count, x=Axis(name="x", values=["v"] * columns), y=Axis(name="y", values=["v"] * rows)
        )
