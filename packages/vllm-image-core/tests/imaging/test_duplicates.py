"""The same image from different seeds."""

import io

from PIL import Image
from vllm_image_core.imaging.duplicates import DuplicateDetector


def test_another_seed_with_the_same_image_is_reported() -> None:
    twins = DuplicateDetector()
    assert twins.seed_of(b"picture", seed=1) is None
    assert twins.seed_of(b"picture", seed=2) == 1
    assert twins.seed_of(b"picture", seed=3) == 1


def test_the_same_seed_may_give_the_same_image() -> None:
    twins = DuplicateDetector()
    assert twins.seed_of(b"picture", seed=1) is None
    assert twins.seed_of(b"picture", seed=1) is None


def test_different_images_are_not_duplicates() -> None:
    twins = DuplicateDetector()
    assert twins.seed_of(b"one", seed=1) is None
    assert twins.seed_of(b"two", seed=2) is None


def test_a_thousand_images_are_remembered_and_the_latest_the_longest() -> None:
    twins = DuplicateDetector()
    assert twins.seed_of(b"first", seed=-1) is None
    for seed in range(999):
        assert twins.seed_of(b"%d" % seed, seed=seed) is None
    assert twins.seed_of(b"first", seed=-2) == -1
    assert twins.seed_of(b"more", seed=1000) is None
    assert twins.seed_of(b"first", seed=-2) == -1
    assert twins.seed_of(b"0", seed=-3) is None


def test_pngs_that_differ_in_one_pixel_are_different_images() -> None:
    def encoded(pixel: int) -> bytes:
        image, file = Image.new("RGB", (300, 300), (1, 2, 3)), io.BytesIO()
        image.putpixel((150, 150), (1, 2, pixel))
        image.save(file, "PNG", compress_level=0)
        return file.getvalue()

    duplicates = DuplicateDetector()
    assert len(encoded(3)) == len(encoded(4))
    assert duplicates.seed_of(encoded(3), seed=1) is None
    assert duplicates.seed_of(encoded(4), seed=2) is None
    assert duplicates.seed_of(encoded(3), seed=3) == 1
