"""A mask is white exactly inside its boxes and polygons."""

import io

from PIL import Image
from vllm_image_core.imaging.mask import draw_mask, mask_of_transparency
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size

SIZE = Size(8, 4)


def rows(**areas: object) -> list[str]:
    image = draw_mask(SIZE, **areas).pil()  # type: ignore[arg-type] - of the function's own types
    marks = {0: ".", 255: "#"}
    pixels = [marks.get(value, "o") for value in image.tobytes()]
    return ["".join(pixels[start : start + 8]) for start in range(0, 32, 8)]


def test_boxes_are_white_up_to_their_right_and_lower_edges() -> None:
    assert rows(boxes=[(1, 1, 3, 3), (6, 0, 8, 1)]) == [
        "......##",
        ".##.....",
        ".##.....",
        "........",
    ]


def test_a_box_that_exceeds_the_image_is_cut() -> None:
    assert rows(boxes=[(6, -5, 99, 99)]) == ["......##"] * 4


def test_a_polygon_is_filled() -> None:
    assert rows(polygons=[[(0, 0), (3, 0), (3, 3), (0, 3)]]) == ["####...."] * 4


def test_a_feathered_edge_has_shades_of_grey() -> None:
    drawn = rows(boxes=[(4, 0, 8, 4)], feather=2)
    assert drawn == [drawn[0]] * 4
    assert "o" in drawn[0]
    assert drawn[0][0] == "."


def test_no_areas_give_a_black_mask() -> None:
    assert rows() == ["........"] * 4


def test_transparent_parts_are_where_an_image_may_change() -> None:
    drawn = Image.new("RGBA", (4, 2), "black")
    drawn.putpixel((0, 0), (0, 0, 0, 0))
    drawn.putpixel((1, 0), (0, 0, 0, 128))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    mask = mask_of_transparency(Picture.check(file.getvalue()))
    with Image.open(io.BytesIO(mask.bytes)) as image:
        assert image.mode == "L"
        assert [image.getpixel((x, 0)) for x in range(4)] == [255, 127, 0, 0]


def test_a_mask_without_transparency_stays_as_it_is() -> None:
    file = io.BytesIO()
    Image.new("L", (4, 2), 255).save(file, "PNG")
    picture = Picture.check(file.getvalue())
    assert mask_of_transparency(picture) is picture
