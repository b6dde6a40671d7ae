"""A PNG is checked chunk by chunk as it arrives; an incomplete one is refused with the position."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_omni_client._imaging.png import SIGNATURE, DamagedPicture, PngHeader, PngWalk, png_header


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def ihdr(width: int = 2, height: int = 3, depth: int = 8, colour: int = 2, rest: bytes = b"\0\0\0") -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + rest)


PIXELS = chunk(b"IDAT", zlib.compress(bytes(3 * 7)))
END = chunk(b"IEND")
WHOLE = SIGNATURE + ihdr() + chunk(b"tEXt", b"a\0b") + PIXELS + END


def walked(data: bytes, step: int = 0) -> PngHeader:
    walk = PngWalk()
    for start in range(0, len(data), step or len(data)):
        walk.feed(data[start : start + (step or len(data))])
    return walk.finish()


@pytest.mark.parametrize("step", [0, 1, 2, 7, 8, 13, 33])
def test_a_complete_png_is_accepted_in_pieces_of_any_length(step: int) -> None:
    assert walked(WHOLE, step) == PngHeader(2, 3, 8, 2)


def test_the_header_is_read_from_the_start_alone() -> None:
    assert png_header(WHOLE[:29]) == PngHeader(2, 3, 8, 2)
    with pytest.raises(DamagedPicture, match="within its header"):
        png_header(WHOLE[:28])
    with pytest.raises(DamagedPicture, match="does not begin with a header"):
        png_header(SIGNATURE + PIXELS * 3)


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_png_truncated_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(DamagedPicture, match="cut off"):
        walked(WHOLE[:cut])


@given(place=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7), step=st.integers(1, 40))
def test_a_flipped_bit_anywhere_is_noticed(place: int, bit: int, step: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= 1 << bit
    with pytest.raises(DamagedPicture):
        walked(bytes(damaged), step)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SIGNATURE + ihdr() + END, "no image data"),
        (SIGNATURE + PIXELS + END, "begin with one header"),
        (SIGNATURE + ihdr() + ihdr() + PIXELS + END, "begin with one header"),
        (SIGNATURE + ihdr() + PIXELS + chunk(b"tEXt") + PIXELS + END, "interrupts"),
        (SIGNATURE + ihdr(colour=3) + PIXELS + END, "no palette"),
        (SIGNATURE + ihdr(width=0) + PIXELS + END, "a size of 0x3"),
        (SIGNATURE + ihdr(height=2**31) + PIXELS + END, "a size of 2x2147483648"),
        (SIGNATURE + ihdr(depth=3) + PIXELS + END, "invalid values"),
        (SIGNATURE + ihdr(rest=b"\0\0\2") + PIXELS + END, "invalid values"),
        (SIGNATURE + ihdr(20_000, 20_000) + PIXELS + END, "too few"),
        (SIGNATURE + ihdr() + PIXELS + chunk(b"IEND", b"x"), "end has content"),
        (WHOLE + b"<script>", "follow the PNG's end"),
        (SIGNATURE + ihdr() + b"\0\0\0\1\0\0\0\0" + PIXELS, "no chunk begins there"),
        (b"\x89PNG\r\n\x1a\r" + ihdr(), "signature"),
    ],
)
def test_impossible_png_values_are_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(DamagedPicture, match=words):
        walked(data)


def test_zero_bytes_after_the_end_do_no_harm() -> None:
    assert walked(WHOLE + b"\0\r\n") == PngHeader(2, 3, 8, 2)


def test_more_chunks_than_any_image_has_are_refused() -> None:
    with pytest.raises(DamagedPicture, match="no chunk begins"):
        walked(SIGNATURE + ihdr() + chunk(b"tEXt") * 65_536)
