"""Measure, wrap, cut and draw short texts in the scripts of the world.

The font that ships with Pillow has the letters of English and little more. For others, fonts of the system
are used, several in one line if necessary. A letter that none of them has is replaced by its base letter ("é"
by "e"), or else by a question mark.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from vllm_image_core.imaging.system_fonts import Face, find_faces

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont


_NO_CHARACTER: Final = "\uffff"
_MAX_CHARACTERS: Final = 400
_MOST_SEARCHES: Final = 16
"""Characters for which the system's fonts are searched, for one drawing."""

_MOST_TRIED: Final = 30
_PROBE_SIZE: Final = 16
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL"})
_ELLIPSIS: Final = "…"
_MISSING: Final = "?"
_WRITTEN_AS: Final = {
    **dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-"),  # dashes of all lengths, and minus
    **str.maketrans("\xd7\xf7\xf8\xd8\u0142\u0141\u0111\u0110\xf0\u0131", "x/oOlLdDdi"),
    0x2190: "<-",
    0x2192: "->",
    0x2248: "~",
    0x2264: "<=",
    0x2265: ">=",
    0x20AC: "EUR",
    0x00DF: "ss",  # letters that Unicode does not decompose
    0x00E6: "ae",
    0x00C6: "AE",
    0x0153: "oe",
    0x0152: "OE",
    0x00FE: "th",
}


def line_height(size: int) -> int:
    """Return the distance between lines, in pixels, for a font size in pixels."""
    return size * 5 // 4


Align = Literal["left", "middle", "right"]


def no_system_fonts(_character: str) -> Iterable[Face]:
    """Find no fonts: text is drawn in the font that ships with Pillow, the same on every machine."""
    return ()


class TextDrawing:
    """Measures, wraps and draws texts at any font size; use one for each drawing, in one thread.

    Args:
        find_faces: Finds fonts for a character that the font of Pillow does not have.
    """

    def __init__(self, find_faces: Callable[[str], Iterable[Face]] = find_faces) -> None:
        self._find_faces = find_faces
        self._fonts: dict[tuple[Face | None, int], ImageFont.FreeTypeFont | None] = {}
        self._missing: dict[Face | None, bytes] = {}
        self._has: dict[tuple[Face | None, str], bool] = {}
        self._faces: list[Face | None] = [None]  # None is the font of Pillow
        self._searched: set[str] = set()

    def font(self, size: int) -> "ImageFont.FreeTypeFont":
        """Return Pillow's font at a size in pixels."""
        font = self._font(None, size)
        if font is None:
            raise TypeError("this Pillow was built without FreeType and cannot draw text at a given size")
        return font

    def drawable(self, text: str) -> str:
        """Return text on one line in letters that can be drawn; empty if most letters cannot."""
        words = " ".join(unicodedata.normalize("NFKC", text[:_MAX_CHARACTERS]).split())
        written = "".join(map(self._drawable, words))
        missing = written.count(_MISSING) - words.count(_MISSING)
        letters = sum(character.isalnum() for character in written)
        while _MISSING * 2 in written and missing > 1:
            written = written.replace(_MISSING * 2, _MISSING)
        return " ".join(written.split()) if letters >= missing else ""

    def lines(self, text: str, *, size: int, width: int, most: int) -> list[str]:
        """Wrap a drawable text to a width in pixels; if there are too many lines, cut the last one."""
        waiting, lines = text.split(), list[str]()
        while waiting and len(lines) < most:
            line = waiting.pop(0)
            while waiting and self.width(f"{line} {waiting[0]}", size) <= width:
                line = f"{line} {waiting.pop(0)}"
            if self.width(line, size) > width:
                length = self._count_fitting(line, "", size, width)
                waiting = [rest, *waiting] if (rest := line[length:]) else waiting
                line = line[:length]
            lines.append(line)
        if waiting and lines:
            last = f"{lines[-1]} {waiting[0]}"
            lines[-1] = last[: self._count_fitting(last, _ELLIPSIS, size, width)].rstrip() + _ELLIPSIS
        return lines

    def width(self, text: str, size: int) -> int:
        """Return the width of text in pixels."""
        return round(sum(font.getlength(run) for font, run in self._runs(text, size)))

    def draw(
        self,
        pen: "ImageDraw.ImageDraw",
        at: tuple[float, float],
        text: str,
        *,
        size: int,
        fill: str,
        align: Align = "left",
    ) -> None:
        """Draw one line of drawable text; `at` is the top of the line, at its left, middle or right."""
        x, top = at
        runs = list(self._runs(text, size))
        if _is_right_to_left(text):
            runs.reverse()
        x -= {"left": 0.0, "middle": 0.5, "right": 1.0}[align] * self.width(text, size)
        baseline = top + self.font(size).getmetrics()[0]
        for font, run in runs:
            pen.text((x, baseline), run, fill=fill, font=font, anchor="ls")
            x += font.getlength(run)

    def _count_fitting(self, text: str, end: str, size: int, width: int) -> int:
        """Count the letters that fit into a width together with an ending; at least one."""
        lengths = range(1, len(text) + 1)
        return max(1, bisect_right(lengths, width, key=lambda most: self.width(text[:most] + end, size)))

    def _drawable(self, character: str) -> str:
        if self._is_anywhere(character):
            return character
        written = character.translate(_WRITTEN_AS)
        if written != character:
            return written
        bases = [base for base in unicodedata.normalize("NFKD", character) if not unicodedata.combining(base)]
        if bases and all(map(self._is_anywhere, bases)):
            return "".join(bases)
        return _MISSING if character.isalnum() else ""

    def _is_anywhere(self, character: str) -> bool:
        """Check whether a font has a character, searching those of the system if necessary."""
        if any(self._is_in(face, character) for face in self._faces):
            return True
        is_text = character.isalnum() or unicodedata.category(character)[0] in "MPS"
        if not is_text or character in self._searched or len(self._searched) >= _MOST_SEARCHES:
            return False
        self._searched.add(character)
        for face in islice(self._find_faces(character), _MOST_TRIED):
            if face not in self._faces and self._is_in(face, character):
                self._faces.append(face)
                return True
        return False

    def _runs(self, text: str, size: int) -> "Iterator[tuple[ImageFont.FreeTypeFont, str]]":
        """Split text into runs of one font each; a word has one font if any font has all of it."""
        face, run = self._faces[0], ""
        for word in re.split("( )", text):
            wanted = next((each for each in (face, *self._faces) if self._has_all(each, word)), None)
            for part in [word] if self._has_all(wanted, word) else word:
                other = wanted if part is word else self._face_of(part, face)
                if other != face and run:
                    yield self._font(face, size) or self.font(size), run
                    run = ""
                face, run = other, run + part
        if run:
            yield self._font(face, size) or self.font(size), run

    def _has_all(self, face: Face | None, word: str) -> bool:
        return all(self._is_in(face, character) for character in word)

    def _face_of(self, character: str, before: Face | None) -> Face | None:
        return next((face for face in (before, *self._faces) if self._is_in(face, character)), None)

    def _is_in(self, face: Face | None, character: str) -> bool:
        if (face, character) not in self._has:
            if face not in self._missing:
                self._missing[face] = self._shape(face, _NO_CHARACTER)
            self._has[face, character] = character == " " or (
                character.isprintable() and self._shape(face, character) != self._missing[face]
            )
        return self._has[face, character]

    def _font(self, face: Face | None, size: int) -> "ImageFont.FreeTypeFont | None":
        from PIL import ImageFont  # noqa: PLC0415 - starting must not wait for Pillow

        if (face, size) not in self._fonts:
            font = ImageFont.load_default(size) if face is None else face.load(size)
            self._fonts[face, size] = font if isinstance(font, ImageFont.FreeTypeFont) else None
        return self._fonts[face, size]

    def _shape(self, face: Face | None, character: str) -> bytes:
        from PIL import Image, ImageDraw  # noqa: PLC0415 - likewise

        font = self._font(face, _PROBE_SIZE)
        if font is None:
            return b""
        square = Image.new("L", (32, 32))
        ImageDraw.Draw(square).text((4, 4), character, fill=255, font=font)
        return square.tobytes()


def _is_right_to_left(text: str) -> bool:
    """Check whether the first letter with a direction is of a script written from right to left."""
    directions = (unicodedata.bidirectional(character) for character in text)
    return next((each for each in directions if each in {"L", "R", "AL"}), "L") in _RIGHT_TO_LEFT
