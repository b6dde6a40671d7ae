"""Define the strict types of request fields and turn validation errors into InvalidParameter."""

import json
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationError

from vllm_omni_client._text import printable
from vllm_omni_client.errors import InvalidParameter

OutputFormat = Literal["png", "jpeg", "webp"]

STRICT: Final = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
"""True, "7" and 7.0 are not integers, NaN and infinity are not numbers, unknown fields are refused."""

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_SHOWN_VALUE: Final = 60
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


def size_text(value: str) -> str:
    """Refuse text that is not a size in pixels."""
    if _NUMBERS.fullmatch(value) and not _SIZE.fullmatch(value):
        raise ValueError("width and height must be 1 to 99999 pixels each, such as 1024x1024")
    if not _SIZE.fullmatch(value):
        raise ValueError("must be WIDTHxHEIGHT in pixels, such as 1024x1024")
    return value


Text = Annotated[str, AfterValidator(_encodable)]
SizeText = Annotated[str, AfterValidator(size_text)]
Seed = Annotated[int, Field(ge=_INT64_MIN, le=_INT64_MAX)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_encodable_json)]


def invalid_parameter(error: ValidationError) -> InvalidParameter:
    """Return pydantic's first complaint as a one-line error that names the field."""
    complaint = error.errors(include_url=False)[0]
    parameter = ".".join(str(part) for part in complaint["loc"])
    value = printable(repr(complaint["input"]), limit=_SHOWN_VALUE)
    reason = complaint["msg"].removeprefix("Value error, ")
    if not parameter:
        return InvalidParameter(reason)
    what = f"{parameter} = {value}" if complaint["type"] != "missing" else parameter
    return InvalidParameter(f"{what}: {reason}", parameter=parameter)
