"""Texts in the one font that is always there."""

import pytest
from vllm_image_core.imaging.text_drawing import TextDrawing


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a red fox, 28 steps (seed 42)", "a red fox, 28 steps (seed 42)"),
        ("Ein süßer Fuchs \u2013 café \u00d7 2", "Ein susser Fuchs - cafe x 2"),
        ("fox → hare ≥ 3 🦊", "fox -> hare >= 3"),
        ("seed 42 · 狐狐狐", "seed 42 · ?"),
        ("why?", "why?"),
        ("why??", "why??"),
        ("\uff26\uff2f\uff38", "FOX"),
        ("two\nlines\tand  spaces\0\x1b[2J\u202e", "two lines and spaces[2J"),
        ("Łódź, Ærø, Đà", "Lodz, AEro, Da"),
        ("雪の中の狐", ""),
        ("лиса", ""),
        ("", ""),
    ],
)
def test_a_text_is_written_in_the_letters_that_the_font_has(text: str, written: str) -> None:
    assert TextDrawing().drawable(text) == written


def test_a_text_is_broken_between_words() -> None:
    lettering = TextDrawing()
    width = lettering.width("a lighthouse over", 20)
    lines = lettering.lines("a lighthouse over a stormy sea", size=20, width=width, most=3)
    assert lines == ["a lighthouse over", "a stormy sea"]


def test_of_too_many_lines_the_last_is_cut_with_a_mark() -> None:
    lettering = TextDrawing()
    width = lettering.width("a lighthouse over", 20)
    lines = lettering.lines("a lighthouse over a stormy sea at night", size=20, width=width, most=1)
    assert len(lines) == 1
    assert lines[0].startswith("a lighthouse ov")
    assert lines[0].endswith("…")


@pytest.mark.parametrize("text", ["x" * 400, "word " * 80, "a_long_name_without_a_break and more", "W"])
@pytest.mark.parametrize("width", [40, 100, 333])
def test_no_line_is_wider_than_it_may_be(text: str, width: int) -> None:
    lettering = TextDrawing()
    lines = lettering.lines(text, size=14, width=width, most=3)
    assert 1 <= len(lines) <= 3
    assert all(lettering.width(line, 14) <= width for line in lines)


def test_where_not_even_a_letter_fits_one_is_written() -> None:
    assert TextDrawing().lines("WW", size=30, width=1, most=2) == ["W", "W"]


def test_a_text_of_a_megabyte_is_cut_before_it_is_measured() -> None:
    assert len(TextDrawing().drawable("x" * 1_000_000)) == 400
