"""Measure, wrap and cut short texts so that they can be drawn in the font that ships with Pillow.

The font has the letters of English and little more. Other letters are replaced by their base letter if they
have one ("é" by "e"), and otherwise by a question mark.
"""

import unicodedata
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import ImageFont


_NO_CHARACTER: Final = "\uffff"
_MAX_CHARACTERS: Final = 400
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


class TextDrawing:
    """Measures and wraps texts at any font size; use one for each drawing, in one thread."""

    def __init__(self) -> None:
        self._fonts: dict[int, ImageFont.FreeTypeFont] = {}
        self._has: dict[str, bool] = {}
        self._missing = self._shape(_NO_CHARACTER)

    def font(self, size: int) -> "ImageFont.FreeTypeFont":
        """Return the font at a size in pixels."""
        from PIL import ImageFont  # noqa: PLC0415 - starting must not wait for Pillow

        if size not in self._fonts:
            font = ImageFont.load_default(size)
            if not isinstance(font, ImageFont.FreeTypeFont):
                raise TypeError("this Pillow was built without FreeType and cannot draw text at a given size")
            self._fonts[size] = font
        return self._fonts[size]

    def drawable(self, text: str) -> str:
        """Return a text on one line in the font's letters; empty if most letters are of another script."""
        words = " ".join(unicodedata.normalize("NFKC", text[:_MAX_CHARACTERS]).split())
        written = "".join(self._drawable(character) for character in words.translate(_WRITTEN_AS))
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
        """Return the width of a text in pixels."""
        return round(self.font(size).getlength(text))

    def _count_fitting(self, text: str, end: str, size: int, width: int) -> int:
        """Count the letters that fit into a width together with an ending; at least one."""
        lengths = range(1, len(text) + 1)
        return max(1, bisect_right(lengths, width, key=lambda most: self.width(text[:most] + end, size)))

    def _drawable(self, character: str) -> str:
        if self._is_there(character):
            return character
        bases = [base for base in unicodedata.normalize("NFKD", character) if not unicodedata.combining(base)]
        if bases and all(self._is_there(base) for base in bases):
            return "".join(bases)
        return _MISSING if character.isalnum() else ""

    def _is_there(self, character: str) -> bool:
        if character not in self._has:
            self._has[character] = character == " " or (
                character.isprintable() and self._shape(character) != self._missing
            )
        return self._has[character]

    def _shape(self, character: str) -> bytes:
        from PIL import Image, ImageDraw  # noqa: PLC0415 - likewise

        square = Image.new("L", (32, 32))
        ImageDraw.Draw(square).text((4, 4), character, fill=255, font=self.font(16))
        return square.tobytes()
