"""Texts in the one font that is always there, and in fonts of the system."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from vllm_image_core.imaging.system_fonts import Face, _ask_fontconfig, find_faces
from vllm_image_core.imaging.text_drawing import TextDrawing, no_system_fonts


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
def test_text_is_written_in_the_letters_that_the_font_has(text: str, written: str) -> None:
    assert TextDrawing(no_system_fonts).drawable(text) == written


def test_text_is_broken_between_words() -> None:
    lettering = TextDrawing()
    width = lettering.width("a lighthouse over", 20)
    lines = lettering.lines("a lighthouse over a stormy sea", size=20, width=width, most=3)
    assert lines == ["a lighthouse over", "a stormy sea"]


def test_excess_lines_are_dropped_and_the_last_gets_a_mark() -> None:
    lettering = TextDrawing()
    width = lettering.width("a lighthouse over", 20)
    lines = lettering.lines("a lighthouse over a stormy sea at night", size=20, width=width, most=1)
    assert len(lines) == 1
    assert lines[0].startswith("a lighthouse ov")
    assert lines[0].endswith("…")


@pytest.mark.parametrize("text", ["x" * 400, "word " * 80, "a_long_name_without_a_break and more", "W"])
@pytest.mark.parametrize("width", [40, 100, 333])
def test_no_line_is_wider_than_allowed(text: str, width: int) -> None:
    lettering = TextDrawing()
    lines = lettering.lines(text, size=14, width=width, most=3)
    assert 1 <= len(lines) <= 3
    assert all(lettering.width(line, 14) <= width for line in lines)


def test_if_no_letter_fits_one_is_written_anyway() -> None:
    assert TextDrawing().lines("WW", size=30, width=1, most=2) == ["W", "W"]


def test_a_megabyte_of_text_is_cut_before_it_is_measured() -> None:
    assert len(TextDrawing().drawable("x" * 1_000_000)) == 400


def has_fonts_for(text: str) -> bool:
    drawing = TextDrawing()
    return all(drawing._is_anywhere(character) for character in text if character != " ")


SCRIPTS = [
    "café, süß",
    "лиса в снегу",
    "αλεπού",
    "雪の中の狐",
    "눈 속의 여우",
    "ثعلب في الثلج",
    "שועל בשלג",
    "बर्फ में",
]


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_script_for_which_the_system_has_a_font_is_drawn_unchanged(text: str) -> None:
    if not has_fonts_for(text):
        pytest.skip("no font for this script here")
    drawing, ink = TextDrawing(), Image.new("L", (600, 60), 0)
    assert drawing.drawable(text) == text
    drawing.draw(ImageDraw.Draw(ink), (300, 5), text, size=24, fill="white", align="middle")
    box = ink.getbbox()
    assert box is not None
    assert abs((box[0] + box[2]) / 2 - 300) < 12
    assert abs(box[2] - box[0] - drawing.width(text, 24)) < 24


def test_a_line_may_need_several_fonts_and_each_word_uses_one() -> None:
    text = "fox 狐 лиса"
    if not has_fonts_for(text):
        pytest.skip("no fonts for these scripts here")
    drawing = TextDrawing()
    assert drawing.drawable(text) == text
    assert [run for _, run in drawing._runs(text, 16)] == ["fox ", "狐 ", "лиса"] or len(
        [*drawing._runs(text, 16)]
    ) == 2  # one system font may have both


def test_english_text_needs_no_system_font() -> None:
    def never(character: str) -> list[Face]:
        raise AssertionError(character)

    assert TextDrawing(never).drawable("a red fox, 28 steps (seed 42)") == "a red fox, 28 steps (seed 42)"


def test_a_missing_or_invalid_font_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "bad.ttf").write_bytes(b"not a font")
    faces = [Face(str(tmp_path / "none.ttf")), Face(str(tmp_path / "bad.ttf"))]
    assert TextDrawing(lambda _character: faces).drawable("seed 42 · 狐") == "seed 42 · ?"


def test_fonts_are_found_without_fontconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    with_fontconfig = [*find_faces("ж")]
    monkeypatch.setenv("PATH", "")
    _ask_fontconfig.cache_clear()
    assert [face.file for face in find_faces("я")] == [
        face.file for face in with_fontconfig if not Path(face.file).is_absolute()
    ]
