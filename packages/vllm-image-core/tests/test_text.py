import pytest
from vllm_image_core.text import brief, one_line


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


def test_a_text_is_cut_to_the_limit_with_a_mark() -> None:
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
def test_a_value_of_any_type_is_shown_shortly(value: object, text: str) -> None:
    assert brief(value) == text
