"""Read the values of a JSON array, or of JSON values in a row, each with its line number."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vllm_image_core.text import brief, one_line

_BLANK: Final = re.compile(r"[ \t\r\n]*")


class BadJson(ValueError):
    """The text is not valid JSON; the message names the line."""


@dataclass(frozen=True, slots=True)
class JsonValue:
    """A value, and the number of the line it begins on, from 1."""

    line: int
    value: object


def object_of(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Build a dict from a JSON object; raise ValueError if a name is repeated, as either could be meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it sets {brief(twice)} twice")
    return found


def json_values(text: str) -> Iterator[JsonValue]:
    """Yield the values of a JSON array, or of JSON values in a row; raise BadJson for anything else."""
    return iter(_Reader(text))


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._line = 1
        self._decoder = json.JSONDecoder(object_pairs_hook=object_of)

    def __iter__(self) -> Iterator[JsonValue]:
        if self._take("["):
            yield from self._elements()
            if not self._at(""):
                raise self._bad("text follows the array")
        else:
            while not self._at(""):
                yield self._value()

    def _elements(self) -> Iterator[JsonValue]:
        while not self._take("]"):
            yield self._value()
            if self._take(","):
                if self._at("]"):
                    raise self._bad("a comma precedes the end of the array")
            elif not self._at("]"):
                raise self._bad("the array is not closed" if self._at("") else "a comma is missing")

    def _value(self) -> JsonValue:
        line = self._line
        try:
            value, end = self._decoder.raw_decode(self._text, self._place)
        except json.JSONDecodeError as error:
            raise BadJson(f"line {error.lineno}: {one_line(error.msg)}") from error
        except (ValueError, RecursionError) as error:
            raise self._bad(one_line(str(error))) from error
        self._move(end)
        return JsonValue(line, value)

    def _at(self, sign: str) -> bool:
        """Skip white space, and check which character follows; "" stands for the end."""
        blank = _BLANK.match(self._text, self._place)
        self._move(blank.end() if blank else self._place)
        return self._text[self._place : self._place + 1] == sign

    def _take(self, sign: str) -> bool:
        found = self._at(sign)
        self._move(self._place + found)
        return found

    def _move(self, place: int) -> None:
        self._line += self._text.count("\n", self._place, place)
        self._place = place

    def _bad(self, what: str) -> BadJson:
        return BadJson(f"line {self._line}: {what}")
