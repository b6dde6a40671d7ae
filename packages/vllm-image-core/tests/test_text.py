from pathlib import Path

import pytest
from vllm_image_core.text import brief, decode_text, one_line, system_reason


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a red fox", "a red fox"),
        ("renard é 狐 🦊", "renard é 狐 🦊"),
        ("a\nb\x00\x1b[31m", r"a\nb\x00\x1b[31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, line: str) -> None:
    assert one_line(text) == line


def test_text_is_cut_to_the_limit_with_a_mark() -> None:
    assert one_line("abcdef", limit=6) == "abcdef"
    assert one_line("abcdefg", limit=6) == "abcde…"
    assert one_line("\x00" * 100, limit=6) == r"\x00\…"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("7", "'7'"),
        (True, "True"),
        (None, "None"),
        (1000, "1000"),
        pytest.param(10**5000, "an integer of more than 64 bits", id="huge"),
        (7.5, "7.5"),
        (float("nan"), "nan"),
        ([1, 2], "a list"),
        (b"x", "a bytes"),
    ],
)
def test_a_value_of_any_type_is_shown_briefly(value: object, text: str) -> None:
    assert brief(value) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_is_text_in_the_encoding_of_its_byte_order_mark(encoding: str) -> None:
    assert decode_text("ein Füchslein".encode(encoding)) == "ein Füchslein"


def test_other_bytes_are_not_text() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode_text(b"caf\xe9")


def test_the_reason_of_a_refused_file_has_neither_number_nor_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Errno") as refused:
        (tmp_path / "gone" / "a.png").read_bytes()
    assert system_reason(refused.value) == "No such file or directory"
    assert system_reason(OSError("a\nreason")) == r"a\nreason"
    assert system_reason(ValueError("embedded null byte")) == "embedded null byte"
