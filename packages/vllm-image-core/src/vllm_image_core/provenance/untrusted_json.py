"""JSON that others wrote: read as data, whatever it is."""

import json
from collections.abc import Mapping, Sequence
from typing import Final, cast

__all__ = ["MAX_CHARACTERS", "as_list", "as_object", "json_object"]

MAX_CHARACTERS: Final = 1_048_576
"""A longer text is not read; a large ComfyUI workflow has some 200,000."""


def json_object(text: object) -> Mapping[str, object]:
    """The object that a text is; an empty one where it is none, too long, or nested too deeply.

    Of keys that occur twice the last counts. NaN is let pass, since ComfyUI writes it: who takes a number
    from here compares it with its bounds.
    """
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        return {}
    try:
        return as_object(json.loads(text))
    except (ValueError, RecursionError):  # an integer of more than 4300 digits is a ValueError, too
        return {}


def as_object(value: object) -> Mapping[str, object]:
    """A value from JSON that is an object; an empty one for any other."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[object]:
    """A value from JSON that is a list; an empty one for any other."""
    return cast("Sequence[object]", value) if isinstance(value, list) else ()
