"""An image on a larger canvas stays as it is, and the margins continue its edges."""

import io

import pytest
from PIL import Image
from vllm_image_core.imaging.canvas import enlarge, extend
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size


def picture(mode: str = "RGB") -> Picture:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (64, 64), "red")
    image.paste("blue", (32, 0, 64, 64))
    file = io.BytesIO()
    image.convert(mode).save(file, "PNG")
    return Picture.check(file.getvalue())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_the_image_itself_is_unchanged_on_its_canvas(mode: str) -> None:
    given = picture(mode)
    extended = extend(given, canvas=Size(128, 96), placed=Size(64, 64), left=32, top=16).pil()
    assert extended.size == (128, 96)
    inside = extended.crop((32, 16, 96, 80))
    assert inside.convert("RGB").tobytes() == given.pil().convert("RGB").tobytes()


def test_the_margins_have_the_colours_of_the_edges() -> None:
    extended = extend(picture(), canvas=Size(128, 64), placed=Size(64, 64), left=32, top=0).pil()
    assert extended.getpixel((1, 30)) == (255, 0, 0)
    assert extended.getpixel((126, 30)) == (0, 0, 255)


def test_an_image_may_be_placed_at_a_smaller_size() -> None:
    extended = extend(picture(), canvas=Size(64, 32), placed=Size(32, 32), left=16, top=0).pil()
    assert extended.size == (64, 32)
    assert extended.getpixel((18, 16)) == (255, 0, 0)


def test_an_enlarged_image_has_the_new_size_and_the_old_colours() -> None:
    larger = enlarge(picture(), Size(96, 128)).pil()
    assert larger.size == (96, 128)
    assert (larger.getpixel((2, 60)), larger.getpixel((93, 60))) == ((255, 0, 0), (0, 0, 255))
