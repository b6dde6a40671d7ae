"""Text in EXIF, in the encodings found in the wild."""

import random

import pytest
from vllm_image_core.imaging.exif_text import Order, comment_text, is_readable, plain_text, wide_text

SETTINGS = "\nNegative prompt: dim\nSteps: 8, Sampler: DPM++ 2M, CFG scale: 4.5, Seed: 991, Size: 640x448"
PROMPTS = {
    "English": "an old harbour at dusk, 3 boats",
    "Japanese": "夕暮れの古い港、三そうの船",
    "Chinese": "黄昏的老港口和三条船",
    "Korean": "해질녘의 오래된 항구",
    "Russian": "старая гавань на закате",
    "Arabic": "ميناء قديم عند الغسق",
    "French": "un vieux port à la tombée de la nuit, café fermé",
    "emoji": "harbour 🌇⛵",
    "ideographic spaces": "夕暮れ\u3000古い港\u3000船",
}
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be")
ORDERS: tuple[Order, ...] = ("<", ">")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "code",
    [
        *(b"UNICODE\0", b"Unicode\0", b"unicode\0", b"UNICODE ", b"UTF-8\0\0\0", b"utf8\0\0\0\0"),
        *(b"ASCII\0\0\0", b"Ascii\0\0\0", b"ASCII   ", bytes(8), b" " * 8, b""),
    ],
    ids=repr,
)
def test_a_comment_is_read_as_its_bytes_show_whatever_its_code_says(code: bytes, encoding: str) -> None:
    for order in ORDERS:
        for prompt in PROMPTS.values():
            text = prompt + SETTINGS
            assert comment_text(code + text.encode(encoding), order) == text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_a_bare_prompt_after_the_code_unicode_is_read(prompt: str, encoding: str) -> None:
    for order in ORDERS:
        assert comment_text(b"UNICODE\0" + prompt.encode(encoding), order) == prompt


@pytest.mark.parametrize("code", [b"UNICODE\0", b"ASCII\0\0\0", bytes(8), b""], ids=repr)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("padding", [b"", b"\0", b"\0\0"])
def test_a_byte_order_mark_counts_and_padding_does_not(code: bytes, encoding: str, padding: bytes) -> None:
    assert comment_text(code + "港 harbour".encode(encoding) + padding, ">") == "港 harbour"


@pytest.mark.parametrize("encoding", ["iso2022_jp", "cp932", "euc_jp", "utf-8"])
@pytest.mark.parametrize("code", [b"JIS\0\0\0\0\0", b"JIS     ", b"Jis\0\0\0\0\0"])
def test_japanese_after_the_code_jis_is_read(code: bytes, encoding: str) -> None:
    text = PROMPTS["Japanese"] + SETTINGS
    assert comment_text(code + text.encode(encoding), "<") == text


def test_kana_that_would_be_valid_ascii_are_kana() -> None:
    assert comment_text(b"UNICODE\0" + "きつねのかお".encode("utf-16-be"), "<") == "きつねのかお"


@pytest.mark.parametrize("text", ["unicode fox", "Ascii art of a fox", "jis", "ASCII", "utf-8 mug", "fox"])
def test_text_that_begins_like_a_code_is_text(text: str) -> None:
    assert comment_text(text.encode(), "<") == text


def test_latin_1_is_not_read_as_chinese_and_unreadable_text_is_marked() -> None:
    value = b"ASCII\0\0\0" + ("café, crème brûlée" + SETTINGS).encode("latin-1")
    text = comment_text(value, "<")
    assert text.startswith("caf\ufffd, cr\ufffdme")
    assert text.endswith(SETTINGS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"a harbour\0\0", "a harbour"),
        ("港".encode() + b"\0rest", "港"),
        ("\ufeff港".encode(), "港"),
        ("a harbour".encode("utf-16-be") + b"\0\0", "a harbour"),
    ],
)
def test_an_entry_without_a_code_is_read(value: bytes, text: str) -> None:
    assert plain_text(value, "<") == text


def test_text_of_windows_is_read_in_either_order() -> None:
    assert wide_text("titre: forêt".encode("utf-16-le") + b"\0\0", ">") == "titre: forêt"


def test_a_binary_comment_is_not_readable() -> None:
    noise = random.Random(3).randbytes(2000)
    assert not is_readable(comment_text(bytes(8) + noise, "<"))
    assert is_readable(PROMPTS["emoji"] + SETTINGS)


@pytest.mark.parametrize("value", [b"\xff" * 500_000, b"0\0" * 300_000, "港".encode("utf-16-le") * 250_000])
@pytest.mark.timeout(60)
def test_a_long_comment_is_read_quickly(value: bytes) -> None:
    assert isinstance(comment_text(b"UNICODE\0" + value, ">"), str)
