"""Previews: their limits are kept."""

import asyncio
import subprocess
import sys

import pytest
from coloured_pictures import noise, plain
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.picture import Picture, read_text, write_text
from vllm_image_core.imaging.preview import PreviewFormat, preview


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
@pytest.mark.parametrize(
    ("side", "most"), [(1024, 200_000), (768, 40_000), (512, 5_000), (4096, 1024), (16, 1024)]
)
def test_a_preview_keeps_its_limits_whatever_it_shows(kind: PreviewFormat, side: int, most: int) -> None:
    small = preview(noise(1200, 800), longest_side=side, max_bytes=most, format=kind)
    assert Picture.check(small.bytes) == small
    assert small.format == kind
    assert len(small.bytes) <= most
    assert max(small.size.width, small.size.height) <= side
    assert small.size.aspect == pytest.approx(1.5, rel=0.2)


def test_a_preview_that_fits_has_the_full_side() -> None:
    assert (preview(plain("red", 1000, 500), longest_side=768).size.width) == 768


def test_quality_is_reduced_before_size() -> None:
    picture = noise(256, 256)
    free = preview(picture, longest_side=256, max_bytes=16_777_216)
    bound = preview(picture, longest_side=256, max_bytes=len(free.bytes) * 3 // 4)
    assert bound.size == free.size
    assert len(free.bytes) // 3 < len(bound.bytes) <= len(free.bytes) * 3 // 4


def test_a_small_image_is_not_enlarged() -> None:
    assert preview(plain("red", 64, 48)).size == plain("red", 64, 48).size


def test_a_preview_has_no_metadata() -> None:
    told = write_text(plain("red"), {"parameters": "a secret fox"})
    assert read_text(preview(told).bytes) == {}


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"longest_side": 15}, "longest_side"),
        ({"longest_side": 4097}, "longest_side"),
        ({"longest_side": 512.0}, "longest_side"),
        ({"max_bytes": 1023}, "max_bytes"),
        ({"max_bytes": True}, "max_bytes"),
        ({"format": "png"}, "format"),
    ],
)
def test_a_limit_out_of_range_is_refused(options: dict[str, object], parameter: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        preview(plain("red"), **options)  # type: ignore[arg-type]  # what a caller may give
    assert caught.value.parameter == parameter


async def test_a_preview_can_be_drawn_in_a_thread() -> None:
    small = await asyncio.to_thread(preview, plain("red"), longest_side=100)
    assert small.size.width == 100


def test_importing_this_module_does_not_import_pillow() -> None:
    program = "import sys; import vllm_image_core.imaging.preview; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
