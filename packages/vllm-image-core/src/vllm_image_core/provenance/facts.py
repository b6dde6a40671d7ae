"""Hold the settings read from an image's file, and turn them into a request after checking each value."""

import functools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeVar, cast

from vllm_image_core import checks
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests import limits
from vllm_image_core.requests.fields import field_named
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.style import Style
from vllm_image_core.text import one_line

Tool = Literal[
    "vllm-image",
    "automatic1111",
    "forge",
    "sd.next",
    "comfyui",
    "invokeai",
    "fooocus",
    "civitai",
    "novelai",
    "swarmui",
    "ruinedfooocus",
    "draw-things",
    "easy-diffusion",
]
"""The program that wrote a file; "automatic1111" also stands for others that write its `parameters` text."""

T = TypeVar("T")

_NOTHING: Final = frozenset(("", "None", "none", "null", "undefined", "N/A", "n/a"))
_MAX_SIDE: Final = 2**16 - 1
_MAX_SETTINGS: Final = 64
_MAX_NAME_CHARACTERS: Final = 60
_MAX_VALUE_CHARACTERS: Final = 200
_MAX_NUMBER_CHARACTERS: Final = 40
# Control characters except tab and line breaks, lone surrogates, and marks that change the writing direction.
_NO_TEXT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The settings that a file gives, as written there: unchecked, of any type."""

    tool: Tool
    prompt: object = None
    negative_prompt: object = None
    width: object = None
    height: object = None
    num_inference_steps: object = None
    guidance_scale: object = None
    seed: object = None
    model: object = None
    style: object = None
    plain: Mapping[str, object] = field(default_factory=dict[str, object])
    """The plain fields of requests, by name; see `PLAIN_FIELDS`."""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """Other settings, to show to a person."""
    edit: Mapping[str, object] = field(default_factory=dict[str, object])
    """What only an edit has: its input images and settings; empty for a generation."""
    notes: tuple[str, ...] = ()
    """What could not be read, one sentence each."""

    @property
    def has_settings(self) -> bool:
        """Whether there is any setting from which an image could be generated again."""
        return any(fact is not None for fact in (self.prompt, self.seed, self.num_inference_steps))

    def without_placeholders(self) -> "Facts":
        """Remove values that mean "none", as Python and JavaScript write them."""
        names = ("prompt", "negative_prompt", "width", "height", "seed", "model")
        names += ("num_inference_steps", "guidance_scale")
        values = {name: getattr(self, name) for name in names}
        empty = (
            name for name, value in values.items() if isinstance(value, str) and value.strip() in _NOTHING
        )
        return replace(self, **dict.fromkeys(empty))


def usual_facts(tool: Tool, found: Mapping[str, object]) -> Facts:
    """Read the settings that most programs name alike: prompt, width, height, steps, seed and model."""
    return Facts(
        tool=tool,
        prompt=found.get("prompt"),
        width=found.get("width"),
        height=found.get("height"),
        num_inference_steps=found.get("steps"),
        seed=found.get("seed"),
        model=found.get("model"),
    )


def first_of(*values: object) -> object:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


def chosen_settings(found: Mapping[str, object], *names: str) -> dict[str, object]:
    """Return the settings with these names that are there."""
    return {name: found[name] for name in names if name in found}


def build_request(facts: Facts) -> tuple[ImageRequest, tuple[str, ...]]:
    """Build a request from the facts, and note what could not be used, one sentence each.

    A value that a request cannot have is ignored; invalid characters and excess length are cut from text.
    """
    notes = list(facts.notes)

    def check_value(name: str, value: object, *, called: str = "") -> Any:  # noqa: ANN401 - the field's own type
        return checked(called or name.replace("_", " "), value, functools.partial(_check, name), notes)

    def text(name: str, value: object) -> str | None:
        bounded = bound_text(value)
        if value is not None and bounded != value:
            notes.append(f"The file's {name} was shortened, or characters that are not text were removed.")
        if bounded and "\ufffd" in bounded:
            notes.append(f"Parts of the file's {name} could not be read; they are shown as \ufffd.")
        return bounded

    prompt = text("prompt", facts.prompt)
    if not prompt:
        notes.append("The file does not contain the prompt; give one to generate the image again.")
    request = ImageRequest(
        prompt=prompt or "",
        negative_prompt=text("negative prompt", facts.negative_prompt) or None,
        width=check_value("width", facts.width),
        height=check_value("height", facts.height),
        num_inference_steps=check_value(
            "num_inference_steps", facts.num_inference_steps, called="number of steps"
        ),
        guidance_scale=check_value("guidance_scale", facts.guidance_scale),
        seed=check_value("seed", facts.seed),
        style=_style(text("style", facts.style)),
        **{name: check_value(name, value) for name, value in facts.plain.items()},
    )
    return request, tuple(notes)


def _style(name: str | None) -> Style | None:
    """Return the style that an image has: its words and settings are among the others."""
    return Style(name=one_line(name, limit=_MAX_NAME_CHARACTERS)) if name and name.strip() else None


def checked(name: str, value: object, check: Callable[[object], T], notes: list[str]) -> T | None:
    """Return a checked value; None, with a note, if it is not allowed."""
    try:
        return None if value is None else check(value)
    except InvalidRequest as error:
        notes.append(f"The file's {name} was ignored: {error.message}")
        return None


def bound_text(value: object) -> str | None:
    """Remove characters that are not text and cut to 20,000 characters; None if it is not a string."""
    if not isinstance(value, str):
        return None
    return _NO_TEXT.sub("", value[: 2 * limits.MAX_CHARACTERS])[: limits.MAX_CHARACTERS]


def bound_settings(settings: Mapping[str, object]) -> dict[str, str]:
    """Return settings for a person to read: at most 64, each name and value on one short line."""
    shown: dict[str, str] = {}
    for name, value in settings.items():
        if len(shown) == _MAX_SETTINGS:
            break
        if isinstance(value, str | bool | int | float) and not _is_huge(value):
            line = one_line(str(value), limit=_MAX_VALUE_CHARACTERS)
            shown[one_line(name, limit=_MAX_NAME_CHARACTERS)] = line
    return shown


def number(text: object) -> int | float | None:
    """Parse a number; None if the text is not a number, or is longer than 40 characters."""
    if not isinstance(text, str) or not text.isascii() or len(text) > _MAX_NUMBER_CHARACTERS:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _as_number(value: object) -> object:
    """Convert numbers that some tools write as strings, and integers with a decimal point."""
    found = number(value) if isinstance(value, str) else value
    if isinstance(found, float) and math.isfinite(found) and found.is_integer():
        return int(found)
    return value if found is None else found


def _check(name: str, value: object) -> Any:  # noqa: ANN401 - the field's own type
    """Check the value of a request's field; numbers may be written as text, as some tools do."""
    if field_named(name).kind not in {"integer", "number", "boolean"}:
        return limits.check(name, value)
    number = _as_number(value)
    if name in {"width", "height"}:
        return checks.check_integer("size", number, 1, _MAX_SIDE, allowed=f"an integer from 1 to {_MAX_SIDE}")
    return limits.check(name, number)


def _is_huge(value: object) -> bool:
    return isinstance(value, int) and value.bit_length() > 64  # noqa: PLR2004 - no seed has more


MAX_CHARACTERS: Final = 1_048_576
"""A longer text is not read; a large ComfyUI workflow has some 200,000."""

_OPENING: Final = ("{", "[", '"{', '"[')
_BEGINS: Final = re.compile(
    r"""\{\s{0,1000}"[^"\n]{0,200}"\s{0,100}:|\[\s{0,1000}\{\s{0,1000}"[^"\n]{0,200}"\s{0,100}:|[\[{]{100}"""
)
"""How objects and lists of objects begin; also brackets nested deeper than in any prompt."""


def json_object(text: object, *, wrapped: bool = False) -> Mapping[str, object]:
    """Parse a JSON object; an empty one if the text is not one, is too long, or is nested too deeply.

    If a key occurs twice, the last one counts. NaN is accepted, since ComfyUI writes it; whoever uses a
    number from here checks its bounds.

    `wrapped` also reads an object within a JSON string, or alone in a list.
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
    """Whether a string is a JSON object or list, or was meant as one: cut off, damaged or nested too deeply.

    A prompt may also begin with a brace or a bracket, so text that cannot be parsed counts only if it begins
    as JSON does.
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
    if isinstance(value, str):  # its content may itself be JSON
        return value.startswith(("{", "[")) and is_json(value)
    return isinstance(value, dict | list)


def as_object(value: object) -> Mapping[str, object]:
    """Return a JSON value if it is an object; otherwise an empty object."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[object]:
    """Return a JSON value if it is a list; otherwise an empty list."""
    return cast("Sequence[object]", value) if isinstance(value, list) else ()
