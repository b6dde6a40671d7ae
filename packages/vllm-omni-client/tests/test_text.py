"""Foreign text becomes one bounded, printable line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_omni_client._text import printable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("\x1b[31mred\x00", "[31mred"),
        ("abc\u202edcba\u2066\u200b", "abcdcba"),
        ("half \ud83d an emoji", "half an emoji"),
        ("café 狐 🦊", "café 狐 🦊"),
        ("\n \r\n", ""),
    ],
)
def test_control_and_bidi_characters_are_dropped_and_white_space_is_collapsed(text: str, line: str) -> None:
    assert printable(text, limit=100) == line


def test_long_text_is_cut_with_a_mark() -> None:
    assert printable("a" * 11, limit=10) == "a" * 9 + "…"
    assert printable("a" * 10, limit=10) == "a" * 10


@given(st.text(st.characters(), max_size=200), st.integers(2, 50))
def test_any_text_becomes_a_printable_line_within_its_limit(text: str, limit: int) -> None:
    line = printable(text, limit=limit)
    assert line.isprintable()
    assert len(line) <= limit
