"""JSON that others wrote: read as data, whatever it is."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

__all__ = ["MAX_CHARACTERS", "as_list", "as_object", "is_json", "json_object"]

MAX_CHARACTERS: Final = 1_048_576
"""A longer text is not read; a large ComfyUI workflow has some 200,000."""

_OPENING: Final = ("{", "[", '"{', '"[')
_BEGINS: Final = re.compile(
    r"""\{\s{0,1000}"[^"\n]{0,200}"\s{0,100}:|\[\s{0,1000}\{\s{0,1000}"[^"\n]{0,200}"\s{0,100}:|[\[{]{100}"""
)
"""How objects and lists of objects begin, and what is nested deeper than any prompt."""


def json_object(text: object, *, wrapped: bool = False) -> Mapping[str, object]:
    """The object that a text is; an empty one where it is none, too long, or nested too deeply.

    Of keys that occur twice the last counts. NaN is let pass, since ComfyUI writes it: who takes a number
    from here compares it with its bounds.

    Args:
        text: The text; anything else is an empty object.
        wrapped: Whether an object that stands in a JSON string, or alone in a list, is read, too.
    """
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        return {}
    try:
        value: object = json.loads(text)
        if wrapped and isinstance(value, str) and value.startswith("{"):
            value = json.loads(value)
    except (ValueError, RecursionError):  # an integer of more than 4300 digits is a ValueError, too
        return {}
    only = as_list(value)
    return as_object(only[0] if wrapped and len(only) == 1 else value)


def is_json(text: str) -> bool:
    """Whether a text is a JSON object or list, or was meant to be one: cut off, damaged or nested too deeply.

    A prompt may begin with a brace or a bracket, too, so that what cannot be parsed counts only if it also
    begins as JSON does.
    """
    start = text.lstrip("\ufeff \t\r\n")
    if not start.startswith(_OPENING):
        return False
    if _BEGINS.match(start):
        return True
    try:
        value: object = json.loads(start) if len(start) <= MAX_CHARACTERS else None
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict | list) or _is_quoted_json(value)


def _is_quoted_json(value: object) -> bool:
    """A JSON string that is JSON itself."""
    return isinstance(value, str) and value.startswith(("{", "[")) and is_json(value)


def as_object(value: object) -> Mapping[str, object]:
    """A value from JSON that is an object; an empty one for any other."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[object]:
    """A value from JSON that is a list; an empty one for any other."""
    return cast("Sequence[object]", value) if isinstance(value, list) else ()
