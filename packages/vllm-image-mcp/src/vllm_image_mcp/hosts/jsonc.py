"""Set a value in JSON with comments and trailing commas, and leave the rest of the text as it is."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_SKIPPED: Final = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_INDENT: Final = re.compile(r"\n([ \t]+)\S")
_USUAL_INDENT: Final = "  "
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class _Node:
    """A value in the text.

    Attributes:
        start: Where it begins.
        end: Where it ends, exclusive.
        value: What it is.
        members: The members of an object; None for any other value.
        has_trailing_comma: Whether the last member of an object is followed by a comma.
    """

    start: int
    end: int
    value: object
    members: Mapping[str, "_Node"] | None = None
    has_trailing_comma: bool = False


def parse(text: str) -> object:
    """Return the value of JSON with comments and trailing commas; raises ValueError."""
    return _root(text).value


def set_value(text: str, path: Sequence[str], value: object) -> str:
    """Set a member of nested objects, and create the objects that are missing; keep all other text.

    Args:
        text: JSON that may have comments and trailing commas; an empty text stands for an empty object.
        path: The keys that lead to the member.
        value: Its new value.

    Raises:
        ValueError: The text is not JSON, or one of the keys leads to a value that is not an object.
    """
    text = text if text[_skip(text, 0) :] else f"{text}{{}}\n"
    node, depth = _root(text), 0
    unit = found[1] if (found := _INDENT.search(text)) else _USUAL_INDENT
    for depth, key in enumerate(path):
        if node.members is None:
            raise ValueError(f"{'.'.join(path[:depth]) or 'the file'} is not an object")
        if key not in node.members:
            break
        node = node.members[key]
    else:
        if node.value == value:
            return text
        return text[: node.start] + _render(value, unit, len(path)) + text[node.end :]
    for key in reversed(path[depth + 1 :]):
        value = {key: value}
    member = f"{json.dumps(path[depth])}: {_render(value, unit, depth + 1)}"
    return _add(text, node, member, unit, depth)


def _add(text: str, node: _Node, member: str, unit: str, depth: int) -> str:
    """Add a member at the end of an object, after the comments that follow its last member."""
    line = "\r\n" if "\r\n" in text else "\n"
    closing = node.end - 1
    inner = text[:closing].rstrip(" \t\r\n")
    if node.members:
        last = max(each.end for each in node.members.values())
        comma = "" if node.has_trailing_comma else ","
        inner = text[:last] + comma + inner[last:]
    added = f"{inner}\n{unit * (depth + 1)}{member}\n{unit * depth}".replace("\r\n", "\n").replace("\n", line)
    return added + text[closing:]


def _render(value: object, unit: str, depth: int) -> str:
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", f"\n{unit * depth}")


def _root(text: str) -> _Node:
    node = _read(text, _skip(text, 0))
    if rest := text[_skip(text, node.end) :]:
        raise ValueError(f"there is text after its end: {rest[:40]!r}")
    return node


def _skip(text: str, at: int) -> int:
    """Return where the next token begins, after spaces and comments."""
    found = _SKIPPED.match(text, at)
    return found.end() if found else at


def _read(text: str, at: int) -> _Node:
    match text[at : at + 1]:
        case "{":
            return _read_object(text, at)
        case "[":
            return _read_array(text, at)
        case _:
            value, end = _DECODER.raw_decode(text, at)
            return _Node(at, end, value)


def _read_object(text: str, start: int) -> _Node:
    members: dict[str, _Node] = {}
    has_comma, at = False, _skip(text, start + 1)
    while text[at : at + 1] != "}":
        if members and not has_comma:
            raise ValueError(f"a comma is missing on line {_line(text, at)}")
        key = _read(text, at)
        at = _expect(text, key.end, ":")
        if not isinstance(key.value, str):
            raise ValueError(f"a key is not a string on line {_line(text, key.start)}")  # noqa: TRY004 - of the text, not of a caller
        node = members[key.value] = _read(text, at)
        at = _skip(text, node.end)
        has_comma = text[at : at + 1] == ","
        at = _skip(text, at + has_comma)
    values = {key: node.value for key, node in members.items()}
    return _Node(start, at + 1, values, members, has_comma)


def _read_array(text: str, start: int) -> _Node:
    values: list[object] = []
    has_comma, at = False, _skip(text, start + 1)
    while text[at : at + 1] != "]":
        if values and not has_comma:
            raise ValueError(f"a comma is missing on line {_line(text, at)}")
        node = _read(text, at)
        values.append(node.value)
        at = _skip(text, node.end)
        has_comma = text[at : at + 1] == ","
        at = _skip(text, at + has_comma)
    return _Node(start, at + 1, values)


def _expect(text: str, at: int, token: str) -> int:
    """Return where the value after a token begins."""
    at = _skip(text, at)
    if text[at : at + 1] != token:
        raise ValueError(f"{token!r} is missing on line {_line(text, at)}")
    return _skip(text, at + 1)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
