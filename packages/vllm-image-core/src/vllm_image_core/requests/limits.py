"""Check each parameter against its limits, before anything is sent.

Source: the request model of vLLM-Omni 0.30.0 (`vllm_omni/entrypoints/openai/protocol/images.py`), which has
the same limits but accepts True, "7" and 7.0 as integers, and any string as a prompt.
"""

import json
import math
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Final, cast

from vllm_image_core.checks import check_integer, invalid_value
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.fields import Bounds, OutputFormat, RequestField, field_named
from vllm_image_core.requests.lora import as_lora_text, read_lora
from vllm_image_core.requests.mask_areas import read_areas
from vllm_image_core.text import LONGEST_PATH, brief

MIN_SEED: Final = -(2**63)
MAX_SEED: Final = 2**63 - 1
MAX_CHARACTERS: Final = 20_000
"""The longest prompt that any profile accepts."""

LONGEST_SIDE: Final = 99_999
"""Pixels: the client, like OpenAI's, writes each side with at most five digits."""

_MOST_NESTED: Final = 16
_MOST_PIXELS: Final = 2**31 - 1
_HUGE: Final = 2**63
_SHOWN: Final = 4
"""The values of a list that an error repeats."""
_SINGLE: Final = frozenset({"integer", "number"})
_SIDE_ALLOWED: Final = "a positive number of pixels"
# Control characters except tab and line breaks, and lone surrogates, which UTF-8 cannot encode.
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def draw_seed() -> int:
    """Draw a seed that means the same on every device: a CPU generator keeps only 32 bits."""
    return secrets.randbelow(2**32)


def check(name: str, value: object) -> Any:  # noqa: ANN401 - the field's own type
    """Check the value of a field by the table of fields, and return it in its own type.

    Names of choices may be in upper or lower case.

    Raises:
        InvalidRequest: It is of another type, out of range, or not a choice.
    """
    field = field_named(name)
    try:
        return _checked(field, value)
    except InvalidRequest as error:
        if field.kind in _SINGLE and isinstance(value, list | tuple):
            error.next_step = _sweep_step(name, cast("Sequence[object]", value))
        raise


def _checked(field: RequestField, value: object) -> Any:  # noqa: ANN401, PLR0911 - the field's own type; one per kind
    name = field.name
    match field.kind:
        case "integer":
            least, most = (int(bound) for bound in field.bounds or (-_HUGE, _HUGE))
            allowed = field.allowed or f"an integer from {least} to {most}"
            return check_integer(name, value, least, most, allowed=allowed)
        case "number":
            return _number(name, value, field.bounds)
        case "choice":
            return _choice(field, value)
        case "boolean":
            if not isinstance(value, bool):
                raise invalid_value(name, value, "is neither true nor false", "true or false")
            return value
        case "lora":
            return str(read_lora(text(name, as_lora_text(value), max_characters=LONGEST_PATH)))
        case "areas":
            return read_areas(name, value)
        case "object":
            return _json_object(name, value)
        case _:
            return text(name, value, max_characters=MAX_CHARACTERS)


def _sweep_step(name: str, values: Sequence[object]) -> str:
    shown = ", ".join(brief(each) for each in values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")
    return f'Give one value; for several, use a batch with sweep={{"{name}": [{shown}]}}.'


def _choice(field: RequestField, value: object) -> str:
    named = value.strip().casefold() if isinstance(value, str) else None
    if named in field.choices:
        return named
    raise invalid_value(field.name, value, f"is not {field.noun}", f"one of {', '.join(field.choices)}")


def _json_object(name: str, value: object) -> dict[str, Any]:
    """Return a copy of a JSON object, which may also be given as its text.

    The server's engine does not survive deep nesting, so the depth is limited, too.
    """
    allowed = f"a JSON object of at most {MAX_CHARACTERS} characters and {_MOST_NESTED} levels"
    try:
        given = json.loads(value) if isinstance(value, str) else value
        written = json.dumps(given, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        given, written = None, ""
    if not isinstance(given, Mapping) or len(written) > MAX_CHARACTERS:
        raise invalid_value(name, value, "is not a JSON object", allowed)
    copy: dict[str, Any] = json.loads(written)
    if _depth(copy) > _MOST_NESTED:
        raise invalid_value(name, value, "is nested too deeply", allowed)
    _only_text(name, json.dumps(copy, ensure_ascii=False))
    return copy


def _depth(value: object) -> int:
    """Count the levels of objects and lists within each other; `json` has limited them already."""
    match value:
        case dict():
            inside = cast("Iterable[object]", value.values())  # pyright: ignore[reportUnknownMemberType] - JSON
        case list():
            inside = cast("Iterable[object]", value)
        case _:
            return 0
    return 1 + max(map(_depth, inside), default=0)


def side(parameter: str, value: object, *, multiple: int) -> int:
    """Check a width or height in pixels, without the model's own limits.

    Args:
        parameter: "width" or "height".
        value: The caller's value.
        multiple: What it must be a multiple of; used only to suggest a value if this one is out of range.

    Raises:
        InvalidRequest: It is not an integer or out of range.
    """
    number = pixels(parameter, value)
    if 1 <= number <= _MOST_PIXELS:
        return number
    nearest = multiple if number < 1 else LONGEST_SIDE // multiple * multiple
    raise InvalidRequest(
        f"{parameter}: {brief(number)} is out of range. Nearest valid {parameter} is {nearest}.",
        parameter=parameter,
        value=value,
        allowed=_SIDE_ALLOWED,
        next_step=f"Give {parameter}={nearest}.",
    )


def pixels(parameter: str, value: object) -> int:
    """Check that a side is an integer of at most 64 bits.

    Raises:
        InvalidRequest: It is not.
    """
    return check_integer(parameter, value, -_HUGE, _HUGE, allowed=_SIDE_ALLOWED)


def _number(parameter: str, value: object, bounds: Bounds) -> float:
    allowed = f"a number from {bounds[0]:g} to {bounds[1]:g}" if bounds else "a number"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise invalid_value(parameter, value, "is not a number", allowed)
    number = _as_float(value)
    if not math.isfinite(number):
        raise invalid_value(parameter, value, "is not a finite number", allowed)
    if bounds and not bounds[0] <= number <= bounds[1]:
        raise invalid_value(parameter, value, "is out of range", allowed)
    return number + 0.0  # -0.0 is 0.0


def output_format(value: object) -> OutputFormat:
    """Check the name of an image format, in upper or lower case; "jpg" means "jpeg".

    Raises:
        InvalidRequest: It is not a supported format.
    """
    is_jpg = isinstance(value, str) and value.strip().casefold() == "jpg"
    return "jpeg" if is_jpg else check("output_format", value)


def prompt(value: object, *, max_characters: int) -> str:
    """Check a prompt and return it unchanged.

    Raises:
        InvalidRequest: It is not a string, is blank or too long, or has characters that are not allowed.
    """
    checked = text("prompt", value, max_characters=max_characters)
    if not checked.strip():
        raise InvalidRequest(
            "The prompt is empty.",
            parameter="prompt",
            value=checked,
            allowed=f"text of 1 to {max_characters} characters",
            next_step="Describe what the image should show.",
        )
    return checked


def text(parameter: str, value: object, *, max_characters: int) -> str:
    """Check text for its length, control characters (except tab and line breaks) and lone surrogates.

    Raises:
        InvalidRequest: It is not a string, is too long, or has such a character.
    """
    allowed = f"text of at most {max_characters} characters"
    if not isinstance(value, str):
        raise invalid_value(parameter, value, "is not a string", allowed)
    if len(value) > max_characters:
        raise InvalidRequest(
            f"The {parameter} has {len(value)} characters; at most {max_characters} are allowed.",
            parameter=parameter,
            value=value,
            allowed=allowed,
            next_step=f"Shorten the {parameter}.",
        )
    _only_text(parameter, value)
    return value


def _only_text(parameter: str, value: str) -> None:
    stray = _NO_TEXT.search(value)
    if stray is None:
        return
    raise InvalidRequest(
        f"The {parameter} has a character that is not allowed: U+{ord(stray[0]):04X} at {stray.start()}.",
        parameter=parameter,
        value=value,
        allowed="text without control characters (except tab and line breaks) or lone surrogates",
        next_step=f"Remove that character from the {parameter}.",
    )


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


MAX_TAG_CHARACTERS: Final = 100


def check_tag(tag: object) -> None:
    """Check a tag: text on one line, or None.

    Raises:
        InvalidRequest: It is blank, too long, or has characters that cannot be printed.
    """
    if tag is None:
        return
    word = text("tag", tag, max_characters=MAX_TAG_CHARACTERS)
    if not word.strip() or not word.isprintable():
        raise InvalidRequest(
            "The tag is blank, or has a character that cannot be printed.",
            parameter="tag",
            value=tag,
            allowed=f"text of 1 to {MAX_TAG_CHARACTERS} printable characters",
        )
