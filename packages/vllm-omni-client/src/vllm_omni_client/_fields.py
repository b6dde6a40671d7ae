"""Define the strict types of request fields and turn validation errors into InvalidParameter."""

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from vllm_omni_client._text import printable
from vllm_omni_client.errors import InvalidParameter

OutputFormat = Literal["png", "jpeg", "webp"]

STRICT: Final = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
"""True, "7" and 7.0 are not integers, NaN and infinity are not numbers, unknown fields are refused."""

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_SHOWN_VALUE: Final = 60
_MEANT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("steps", "num_steps", "inference_steps", "sampling_steps"), "num_inference_steps"),
    **dict.fromkeys(("cfg", "cfg_scale", "guidance", "scale"), "guidance_scale"),
    **dict.fromkeys(("width", "height", "aspect_ratio", "resolution", "dimensions", "image_size"), "size"),
    **dict.fromkeys(("count", "num_images", "num_images_per_prompt", "batch_size"), "n"),
    **dict.fromkeys(("negative", "neg_prompt"), "negative_prompt"),
    **dict.fromkeys(("format", "image_format"), "output_format"),
    **dict.fromkeys(("quality", "compression"), "output_compression"),
    **dict.fromkeys(("headers", "header"), "extra_headers"),
    **dict.fromkeys(("retries", "max_attempts"), "max_retries"),
    **dict.fromkeys(("loras", "lora_path", "lora_name"), "lora"),
    "image": "edit_image",
    "denoising_strength": "strength",
    "extra_body": "the fields themselves, without extra_body",
}
"""What other image servers and libraries call a field; used if the request has the field."""
_COMPLAINTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("int_type", "int_from_float"), "must be an integer"),
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "dict_type": "must be an object with named values",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "missing": "is missing",
}
"""What to say instead of pydantic's own messages, by their type."""
_SIZE_FORM: Final = "must be WIDTHxHEIGHT in pixels, such as 1024x1024"
_NUMBERS: Final = re.compile(r"[0-9]+x[0-9]+")
_SIZE: Final = re.compile(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}")


def _encodable(value: str) -> str:
    """Refuse text that UTF-8 cannot encode, such as half of an emoji."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("contains a lone surrogate, which is not a character") from error
    return value


def _encodable_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    _encodable(json.dumps(value, ensure_ascii=False))
    return value


def _as_text(value: object) -> object:
    """Turn a (width, height) pair into text; pass text on, and refuse anything else."""
    match value:
        case [int(width), int(height)] if type(width) is type(height) is int:
            return f"{width}x{height}"
        case str() | None:
            return value
        case _:
            raise ValueError(_SIZE_FORM)


def size_text(value: str) -> str:
    """Refuse text that is not a size in pixels."""
    if _NUMBERS.fullmatch(value) and not _SIZE.fullmatch(value):
        raise ValueError("width and height must be 1 to 99999 pixels each, such as 1024x1024")
    if not _SIZE.fullmatch(value):
        raise ValueError(_SIZE_FORM)
    return value


Text = Annotated[str, AfterValidator(_encodable)]
SizePair = BeforeValidator(_as_text)
"""Takes a pair of a width and a height for a size."""
SizeText = Annotated[str, SizePair, AfterValidator(size_text)]
Seed = Annotated[int, Field(ge=_INT64_MIN, le=_INT64_MAX)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_encodable_json)]


def unknown_field(name: str, known: Iterable[str]) -> InvalidParameter:
    """Return the error for a field that a request does not have, with the one that was probably meant."""
    names = sorted(known)
    possible = {*names, "edit_image"}
    meant = {word: field for word, field in _MEANT.items() if field in possible or not field.isidentifier()}
    words = meant | {field: field for field in names}
    close = get_close_matches(name.lower(), words, n=1)
    hint = f"; did you mean {words[close[0]]}?" if close else f". Its fields: {', '.join(names)}"
    shown = printable(name, limit=_SHOWN_VALUE)
    return InvalidParameter(f"{shown} is not a field of this request{hint}", parameter=shown)


def invalid_parameter(error: ValidationError, known: Iterable[str]) -> InvalidParameter:
    """Return pydantic's first complaint as a one-line error that names the field and what it must be.

    Args:
        error: What pydantic raised.
        known: The fields of the request.
    """
    complaint = error.errors(include_url=False)[0]
    parameter = ".".join(str(part) for part in complaint["loc"])
    if complaint["type"] == "extra_forbidden" and len(complaint["loc"]) == 1:
        return unknown_field(parameter, known)
    value = printable(repr(complaint["input"]), limit=_SHOWN_VALUE)
    reason = complaint["msg"].removeprefix("Value error, ")
    if words := _COMPLAINTS.get(complaint["type"]):
        reason = words.format(**complaint.get("ctx", {}))
    if not parameter:
        return InvalidParameter(reason)
    if complaint["type"] == "missing":
        return InvalidParameter(f"{parameter} {reason}", parameter=parameter)
    return InvalidParameter(f"{parameter} = {value}: {reason}", parameter=parameter)
