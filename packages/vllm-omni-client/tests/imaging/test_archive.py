"""The images of a reply in file mode, in the order of their numbers."""

import io
import zipfile

import pytest
from vllm_omni_client._imaging.archive import unpack_images


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("image_0.png", "image_1.png"), ("image_0.png", "image_1.png")),
        (("image_1.png", "image_0.png"), ("image_0.png", "image_1.png")),
        (("image_10.webp", "image_2.webp"), ("image_2.webp", "image_10.webp")),
        (("b", "a"), ("b", "a")),
    ],
)
def test_images_come_in_the_order_of_their_numbers(names: tuple[str, ...], order: tuple[str, ...]) -> None:
    contents = unpack_images(zipped(*names), most_bytes=1000)
    assert contents == tuple(f"content of {name}".encode() for name in order)


def test_anything_but_a_zip_is_one_image() -> None:
    assert unpack_images(b"\x89PNG", most_bytes=1) == (b"\x89PNG",)


@pytest.mark.parametrize("keep", [20, -5])
def test_a_zip_that_is_cut_off_is_refused(keep: int) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack_images(zipped("image_0.png")[:keep], most_bytes=1000)


def test_a_zip_that_unpacks_to_too_much_is_refused_unread() -> None:
    with pytest.raises(ValueError, match="more than was requested"):
        unpack_images(zipped("image_0.png"), most_bytes=10)
