"""The bounds of each parameter: what is refused here, before anything is sent.

Source: the request model of vLLM-Omni 0.30.0 (`vllm_omni/entrypoints/openai/protocol/images.py`), which has
the same bounds, but takes True, "7" and 7.0 for integers, and any text for a prompt.
"""

import math
import re
from numbers import Real
from typing import Final, get_args

from vllm_image_core.checks import integer, refusal
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.models.settings import QUALITIES, Quality
from vllm_image_core.requests.image_request import OutputFormat
from vllm_image_core.text import shown

MAX_STEPS: Final = 200
OUTPUT_FORMATS: Final[tuple[OutputFormat, ...]] = get_args(OutputFormat)
MAX_GUIDANCE_SCALE: Final = 20.0
MIN_SEED: Final = -(2**63)
MAX_SEED: Final = 2**63 - 1
SAFE_SEEDS: Final = 2**32
"""Seeds from 0 up to this mean the same on every device: a generator on the CPU keeps 32 bits."""

LONGEST_SIDE: Final = 99_999
"""Pixels: the client, like OpenAI's, writes a side in at most five digits."""

_MOST_PIXELS: Final = 2**31 - 1
_HUGE: Final = 2**63
_SIDE_ALLOWED: Final = "a positive number of pixels"
_SEED_ALLOWED: Final = f"an integer, best from 0 to {SAFE_SEEDS - 1}, at most 64 bits with a sign"
# Control characters but tab and line breaks, and halves of surrogate pairs, which UTF-8 does not have.
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def steps(value: object) -> int:
    """A number of inference steps, 1 to 200.

    Raises:
        InvalidRequest: It is not an integer or out of range.
    """
    return integer("num_inference_steps", value, 1, MAX_STEPS, allowed=f"an integer from 1 to {MAX_STEPS}")


def seed(value: object) -> int:
    """A seed, any signed 64-bit integer.

    Raises:
        InvalidRequest: It is not an integer or out of range.
    """
    return integer("seed", value, MIN_SEED, MAX_SEED, allowed=_SEED_ALLOWED)


def side(parameter: str, value: object, *, multiple: int) -> int:
    """A width or a height in pixels, whatever the model's own limits are.

    Args:
        parameter: "width" or "height".
        value: As the caller gave it.
        multiple: What it has to be a multiple of; only for what is told of a value out of range.

    Raises:
        InvalidRequest: It is not an integer or out of range.
    """
    number = pixels(parameter, value)
    if 1 <= number <= _MOST_PIXELS:
        return number
    nearest = multiple if number < 1 else LONGEST_SIDE // multiple * multiple
    raise InvalidRequest(
        f"{parameter}: {shown(number)} is out of range. Nearest valid {parameter} is {nearest}.",
        parameter=parameter,
        value=value,
        allowed=_SIDE_ALLOWED,
        next_step=f"Give {parameter}={nearest}.",
    )


def pixels(parameter: str, value: object) -> int:
    """Any integer that could have been meant for a side, of at most 64 bits.

    Raises:
        InvalidRequest: It is none.
    """
    return integer(parameter, value, -_HUGE, _HUGE, allowed=_SIDE_ALLOWED)


def guidance_scale(value: object) -> float:
    """A guidance scale, 0 to 20.

    Raises:
        InvalidRequest: It is not a number, not finite or out of range.
    """
    return _number("guidance_scale", value, MAX_GUIDANCE_SCALE)


def strength(value: object) -> float:
    """How far an edit may go from its picture, 0 to 1.

    Raises:
        InvalidRequest: It is not a number, not finite or out of range.
    """
    return _number("strength", value, 1.0)


def _number(parameter: str, value: object, most: float) -> float:
    allowed = f"a number from 0 to {most:g}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise refusal(parameter, value, "is not a number", allowed)
    number = _as_float(value)
    if not math.isfinite(number):
        raise refusal(parameter, value, "is not a finite number", allowed)
    if not 0 <= number <= most:
        raise refusal(parameter, value, "is out of range", allowed)
    return number + 0.0  # -0.0 is 0.0


def quality(value: object) -> Quality:
    """The name of a quality, in any case.

    Raises:
        InvalidRequest: It is none.
    """
    named = value.strip().casefold() if isinstance(value, str) else None
    for known in QUALITIES:
        if named == known:
            return known
    raise refusal("quality", value, "is no quality", f"one of {', '.join(QUALITIES)}")


def output_format(value: object) -> OutputFormat:
    """The name of a picture's format, in any case; "jpg" is "jpeg".

    Raises:
        InvalidRequest: It is none.
    """
    named = value.strip().casefold() if isinstance(value, str) else None
    for known in OUTPUT_FORMATS:
        if named == known or (named == "jpg" and known == "jpeg"):
            return known
    raise refusal("output_format", value, "is no format", f"one of {', '.join(OUTPUT_FORMATS)}")


def prompt(value: object, *, max_characters: int) -> str:
    """A prompt, as it was given.

    Raises:
        InvalidRequest: It is no text, is blank or too long, or has characters that no prompt has.
    """
    checked = text("prompt", value, max_characters=max_characters)
    if not checked.strip():
        raise InvalidRequest(
            "The prompt is empty.",
            parameter="prompt",
            value=checked,
            allowed=f"a text of 1 to {max_characters} characters",
            next_step="Describe what the picture shows.",
        )
    return checked


def text(parameter: str, value: object, *, max_characters: int) -> str:
    """A text that may be sent: not too long, no control character but tab and line breaks, no lone surrogate.

    Raises:
        InvalidRequest: It is none.
    """
    allowed = f"a text of at most {max_characters} characters"
    if not isinstance(value, str):
        raise refusal(parameter, value, "is no text", allowed)
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
        f"The {parameter} has a character that is no text: U+{ord(stray[0]):04X} at {stray.start()}.",
        parameter=parameter,
        value=value,
        allowed="text without control characters (tab and line breaks may stay) and lone surrogates",
        next_step=f"Remove that character from the {parameter}.",
    )


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


MAX_CHARACTERS: Final = 100


def check_tag(tag: object) -> None:
    """Check a tag: a text on one line, or None.

    Raises:
        InvalidRequest: It is blank, too long, or has characters that cannot be printed.
    """
    if tag is None:
        return
    word = text("tag", tag, max_characters=MAX_CHARACTERS)
    if not word.strip() or not word.isprintable():
        raise InvalidRequest(
            "The tag is blank, or has a character that cannot be printed.",
            parameter="tag",
            value=tag,
            allowed=f"a text of 1 to {MAX_CHARACTERS} printable characters",
        )
