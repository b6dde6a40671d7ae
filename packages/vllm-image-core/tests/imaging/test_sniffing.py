"""What the first bytes say."""

import pytest
from vllm_image_core.imaging.sniffing import describe, picture_format


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n....", "png"),
        (b"\xff\xd8\xff\xe0....", "jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"\x89PNG\n\x1a\n", None),
        (b"GIF89a", None),
        (b"", None),
    ],
)
def test_the_format_is_that_of_the_bytes(data: bytes, expected: str | None) -> None:
    assert picture_format(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "nothing (0 bytes)"),
        (b"GIF89a" + bytes(20), "a GIF image (26 bytes)"),
        (b"%PDF-1.7", "a PDF document (8 bytes)"),
        (b"\0\0\0\x1cftypavif", "an AVIF or HEIC image (12 bytes)"),
        (b"\x89PNG\n\x1a\n\0\0\0\0", "a damaged PNG (11 bytes)"),
        (b"<!DOCTYPE html>\n<p>502</p>", "an HTML page (26 bytes): '<!DOCTYPE html>\\n<p>502</p>'"),
        (b"\xef\xbb\xbf  <html>", "an HTML page (11 bytes): '<html>'"),
        (b'{"error": "x"}', 'JSON (14 bytes): \'{"error": "x"}\''),
        (b"Bad Gateway", "text (11 bytes): 'Bad Gateway'"),
        ("äöü".encode(), "text (6 bytes): 'äöü'"),
        (b"\xde\xad\xbe\xef", "4 bytes that begin with de ad be ef"),
        (b"text\0with zero", "14 bytes that begin with 74 65 78 74 00 77 69 74 68 20 7a 65 72 6f"),
    ],
)
def test_anything_but_an_image_is_described_in_a_few_words(data: bytes, expected: str) -> None:
    assert describe(data) == expected


@pytest.mark.parametrize(
    "data", [b"x" * 1_000_000, "\u202e狐".encode() * 10_000, b"\x1b[2J" * 500, b"\xff" * 100_000, b"\xc3" * 9]
)
def test_a_description_is_short_and_printable(data: bytes) -> None:
    told = describe(data)
    assert len(told) < 130
    assert told.isprintable()
