"""PNG chunks: walked, checked and spliced without decoding."""

import io
import os
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import exif, png
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.sniffing import picture_size
from vllm_omni_client.imaging import SIGNATURE


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int, depth: int = 8, colour: int = 2, rest: bytes = b"\0\0\0") -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + rest)


def drawn(width: int = 48, height: int = 32, mode: str = "RGB", **options: object) -> bytes:
    image = (
        Image.frombytes("RGB", (width, height), os.urandom(3 * width * height))
        .convert("L" if mode == "I;16" else "RGB")
        .convert(mode)
    )
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def kinds(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    position = 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append(data[position + 4 : position + 8])
        position += 12 + length
    return found


def pixel_data(data: bytes) -> bytes:
    return data[data.index(b"IDAT") : data.index(b"IEND")]


WHOLE = drawn()
PIXELS = chunk(b"IDAT", zlib.compress(bytes(4 * (1 + 3 * 4))))
SMALL = SIGNATURE + header(4, 4) + PIXELS + chunk(b"IEND")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_files_by_pillow_are_complete_and_have_their_size(mode: str) -> None:
    data = drawn(33, 17, mode)
    assert picture_size(data) == Size(33, 17)
    assert png.check(data) == len(data)


def test_a_png_cut_at_any_byte_is_refused() -> None:
    assert png.check(SMALL) == len(SMALL)
    for length in range(len(SMALL)):
        with pytest.raises(BadPicture):
            png.check(SMALL[:length])


def test_a_png_with_any_flipped_bit_is_refused() -> None:
    for position in range(len(SMALL) * 8):
        damaged = bytearray(SMALL)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(BadPicture):
            png.check(bytes(damaged))


def test_a_wrong_checksum_is_reported_with_the_chunk() -> None:
    start = WHOLE.index(b"IDAT") + 10
    damaged = WHOLE[:start] + bytes([WHOLE[start] ^ 1]) + WHOLE[start + 1 :]
    with pytest.raises(BadPicture, match="the checksum of its IDAT chunk is wrong"):
        png.check(damaged)


def test_a_truncated_png_is_reported_with_its_length() -> None:
    with pytest.raises(BadPicture, match=f"cut off after {len(WHOLE) - 5} bytes: its end is missing"):
        png.check(WHOLE[:-5])


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n", b"\0" * 300, b" \n\0"])
def test_spaces_and_zero_bytes_after_the_end_are_not_part_of_the_image(tail: bytes) -> None:
    assert png.check(WHOLE + tail) == len(WHOLE)


@pytest.mark.parametrize(
    "tail",
    [b"x", b"<script>alert(1)</script>", b"\0\0PK\x03\x04", WHOLE],
    ids=["a letter", "a script", "an archive", "another PNG"],
)
def test_anything_else_after_the_end_is_refused(tail: bytes) -> None:
    with pytest.raises(BadPicture, match="Extra bytes follow the PNG's end"):
        png.check(WHOLE + tail)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (SIGNATURE, "cut off after 8 bytes"),
        (SIGNATURE + chunk(b"IDAT", bytes(40)), "does not begin with one header"),
        (SIGNATURE + header(0, 4) + PIXELS + chunk(b"IEND"), "a size of 0x4"),
        (SIGNATURE + header(4, 2**31) + PIXELS + chunk(b"IEND"), "a size of 4x2147483648"),
        (SIGNATURE + header(4, 4, depth=7) + PIXELS + chunk(b"IEND"), "invalid values"),
        (SIGNATURE + header(4, 4, colour=5) + PIXELS + chunk(b"IEND"), "invalid values"),
        (SIGNATURE + header(4, 4, rest=b"\0\0\2") + PIXELS + chunk(b"IEND"), "invalid values"),
        (SIGNATURE + header(4, 4, rest=b"\1\0\0") + PIXELS + chunk(b"IEND"), "invalid values"),
        (
            SIGNATURE + header(4, 4) + header(4, 4) + PIXELS + chunk(b"IEND"),
            "does not begin with one header",
        ),
        (SIGNATURE + header(4, 4) + chunk(b"IEND"), "no image data"),
        (SIGNATURE + header(4, 4, colour=3) + PIXELS + chunk(b"IEND"), "no palette"),
        (SIGNATURE + header(4, 4) + PIXELS + chunk(b"IEND", b"x"), "end has content"),
        (SIGNATURE + header(4, 4) + PIXELS + chunk(b"\xff\0ab") + chunk(b"IEND"), "no chunk begins"),
        (SIGNATURE + header(4, 4) + PIXELS + chunk(b"tEXt") + PIXELS + chunk(b"IEND"), "interrupts"),
        (SIGNATURE + header(9000, 9000) + PIXELS + chunk(b"IEND"), "too few for 9000x9000"),
        (SIGNATURE + header(4, 4) + chunk(b"tEXt") * 70_000 + PIXELS + chunk(b"IEND"), "no chunk begins"),
    ],
)
def test_a_png_that_breaks_a_rule_is_refused_with_the_rule(data: bytes, fault: str) -> None:
    with pytest.raises(BadPicture, match=fault):
        png.check(data)


def test_the_size_of_a_bomb_is_known_without_decompressing_it() -> None:
    bomb = SIGNATURE + header(20_000, 20_000) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    assert picture_size(bomb) == Size(20_000, 20_000)


def test_text_is_inserted_after_the_header_and_all_other_bytes_stay() -> None:
    described = png.write_texts(WHOLE, {"parameters": "Steps: 4"})
    assert described == WHOLE[:33] + chunk(b"tEXt", b"parameters\0Steps: 4") + WHOLE[33:]
    assert pixel_data(described) == pixel_data(WHOLE)
    assert png.check(described) == len(described)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a red fox\nNegative prompt: blur", b"tEXt"),
        ("ein süßer Fuchs", b"tEXt"),
        ("", b"tEXt"),
        ("雪の中の狐 🦊", b"iTXt"),
        ("שועל", b"iTXt"),
        ("x" * 400_000, b"tEXt"),
        ("狐" * 100_000, b"iTXt"),
    ],
)
def test_text_can_be_read_by_us_and_by_pillow(text: str, kind: bytes) -> None:
    described = png.write_texts(WHOLE, {"parameters": text})
    assert kinds(described)[1] == kind
    assert png.read_texts(described) == {"parameters": text}
    with Image.open(io.BytesIO(described)) as image:
        image.load()
        assert isinstance(image, PngImagePlugin.PngImageFile)
        assert image.text == {"parameters": text}


def test_text_replaces_that_of_the_same_keyword_and_leaves_the_others() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "the server's", zip=True)
    info.add_itxt("parameters", "the server's")
    info.add_text("Software", "vLLM")
    first = png.write_texts(drawn(pnginfo=info), {"parameters": "ours"})
    assert kinds(first).count(b"tEXt") == 2
    assert b"zTXt" not in kinds(first)
    assert png.read_texts(first) == {"parameters": "ours", "Software": "vLLM"}
    assert png.write_texts(first, {"parameters": "ours"}) == first


def test_characters_that_text_cannot_hold_become_replacement_characters() -> None:
    described = png.write_texts(WHOLE, {"parameters": "a\0b\ud800c\U0001f98a"})
    assert png.read_texts(described) == {"parameters": "a\ufffdb\ufffdc\U0001f98a"}


@pytest.mark.parametrize("keyword", ["", " x", "x ", "x" * 80, "a\0b", "a\nb", "狐"])
def test_an_invalid_png_keyword_is_refused(keyword: str) -> None:
    with pytest.raises(ValueError, match=r"keyword|latin-1"):
        png.write_texts(WHOLE, {keyword: "x"})


def test_text_of_more_than_a_mebibyte_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 1048576"):
        png.write_texts(WHOLE, {"parameters": "x" * 1_048_576})


@pytest.mark.parametrize("packed", [False, True])
def test_compressed_and_plain_texts_of_other_programs_are_read(packed: bool) -> None:  # noqa: FBT001 - parametrised
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", '{"3": {}}', zip=packed)
    info.add_itxt("workflow", "狐", lang="ja", tkey="流れ", zip=packed)
    assert png.read_texts(drawn(pnginfo=info)) == {"prompt": '{"3": {}}', "workflow": "狐"}


def test_texts_after_the_pixels_are_read_and_the_last_of_a_keyword_counts() -> None:
    first, last = chunk(b"tEXt", b"a\0first"), chunk(b"tEXt", b"a\0last")
    data = SIGNATURE + header(4, 4) + first + PIXELS + last + chunk(b"IEND")
    assert png.read_texts(data) == {"a": "last"}


@pytest.mark.parametrize(
    "hostile",
    [
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000))),
        chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(50_000_000))),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(b"text")[:-3]),
        chunk(b"zTXt", b"a\0\0not packed at all"),
        chunk(b"zTXt", b"a\0\7" + zlib.compress(b"unknown packing")),
        chunk(b"zTXt", b"a\0"),
        chunk(b"iTXt", b"a\0\2\0\0\0x"),
        chunk(b"iTXt", b"a\0\0\0"),
        chunk(b"iTXt", b"a\0\0\0en"),
        chunk(b"tEXt", b"no zero byte"),
        chunk(b"tEXt", b"\0no keyword"),
        chunk(b"tEXt", b"k" * 80 + b"\0keyword too long"),
        chunk(b"tEXt", b"a\0" + bytes(1_048_576)),
        chunk(b"tEXt", b"a\0x")[:-1] + b"!",
    ],
)
def test_hostile_text_is_skipped_and_the_others_are_read(hostile: bytes) -> None:
    good = chunk(b"tEXt", b"parameters\0Steps: 4")
    data = SIGNATURE + header(4, 4) + hostile + good + PIXELS + chunk(b"IEND")
    assert png.read_texts(data) == {"parameters": "Steps: 4"}


def test_no_more_than_64_texts_are_read() -> None:
    texts = b"".join(chunk(b"tEXt", b"%d\0x" % number) for number in range(1000))
    data = SIGNATURE + header(4, 4) + texts + PIXELS + chunk(b"IEND")
    assert list(png.read_texts(data)) == [str(number) for number in range(64)]


@pytest.mark.parametrize("data", [b"", b"GIF89a", SIGNATURE, SIGNATURE + b"\xff" * 40, b"\0" * 100])
def test_anything_but_a_png_has_no_texts(data: bytes) -> None:
    assert png.read_texts(data) == {}


def test_the_texts_of_a_truncated_png_are_read_as_far_as_possible() -> None:
    described = png.write_texts(WHOLE, {"parameters": "Steps: 4"})
    assert png.read_texts(described[:-20]) == {"parameters": "Steps: 4"}
    assert png.read_texts(described[:50]) == {}


def test_bytes_that_are_not_utf8_are_read_with_replacement_characters() -> None:
    data = SIGNATURE + header(4, 4) + chunk(b"iTXt", b"a\0\0\0\0\0x\xffy") + PIXELS + chunk(b"IEND")
    assert png.read_texts(data) == {"a": "x\ufffdy"}


@pytest.mark.parametrize("text", ["a pier 桟橋", "café"])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_text_in_utf_8_is_read_in_any_chunk(kind: bytes, text: str) -> None:
    packed = {b"tEXt": b"", b"zTXt": b"\0", b"iTXt": b"\x01\0\0\0"}[kind]
    content = text.encode() if kind == b"tEXt" else zlib.compress(text.encode())
    whole = drawn()
    data = whole[:33] + chunk(kind, b"parameters\0" + packed + content) + whole[33:]
    assert png.read_texts(data) == {"parameters": text}


@pytest.mark.parametrize("text", ["Ã©tÃ©", "café", "\xa0", "plain"])
def test_latin_1_that_would_be_valid_utf_8_is_read_back_as_written(text: str) -> None:
    assert png.read_texts(png.write_texts(drawn(), {"parameters": text})) == {"parameters": text}


def test_exif_is_read_from_its_chunk_and_from_imagemagick_but_texts_come_first() -> None:
    block = exif.encode("a pier\nSteps: 4")
    whole = drawn()
    own = chunk(b"eXIf", block)
    digits = f"\nexif\n{len(block) + 6:8}\n{(exif.PREFIX + block).hex()}\n"
    profile = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(digits.encode()))
    for found in (own, profile):
        assert png.read_texts(whole[:33] + found + whole[33:])["parameters"] == "a pier\nSteps: 4"
    both = own + chunk(b"tEXt", b"parameters\0a quay")
    assert png.read_texts(whole[:33] + both + whole[33:])["parameters"] == "a quay"
