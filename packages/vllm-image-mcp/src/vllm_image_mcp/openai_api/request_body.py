"""Parse request bodies of the OpenAI images API, and check their fields before anything is read or sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from vllm_image_core.errors import InvalidRequest

MOST_JSON_BYTES: Final = 1_048_576
"""Limit on a JSON body, which contains no image."""

MOST_UPLOAD_BYTES: Final = 32 * 2**20
"""Limit on a form with its uploaded images."""

_MOST_IMAGES: Final = 4
_MOST_FIELDS: Final = 40
_MOST_FIELD_BYTES: Final = 2**18
_SIZE: Final = re.compile(r"(\d{1,5})[xX](\d{1,5})")
_NUMBER: Final = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,10})?")


def _number(value: object) -> object:
    """Return the number that a field of a form means, which is text there."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value


def _none_if_auto(value: object) -> object:
    return None if value in {"auto", ""} else value


Count = Annotated[int, Field(ge=1, le=10, strict=True), BeforeValidator(_number)]
Auto: Final = BeforeValidator(_none_if_auto)


class ImageBody(BaseModel):
    """The fields of a generation or an edit, with those of vLLM-Omni that the SDK sends as extra body."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    prompt: str
    model: str | None = None
    n: Count | None = None
    size: Annotated[str | None, Auto] = None
    quality: Annotated[Literal["low", "medium", "high", "standard", "hd", "draft", "best"] | None, Auto] = (
        None
    )
    style: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int | None, Field(ge=0, le=100), BeforeValidator(_number)] = None
    background: Annotated[Literal["transparent", "opaque"] | None, Auto] = None
    user: str | None = None
    moderation: str | None = None
    input_fidelity: str | None = None
    stream: bool | None = None
    partial_images: Annotated[int | None, BeforeValidator(_number)] = None
    negative_prompt: str | None = None
    seed: Annotated[int | None, BeforeValidator(_number)] = None
    num_inference_steps: Annotated[int | None, BeforeValidator(_number)] = None
    guidance_scale: Annotated[float | None, BeforeValidator(_number)] = None
    strength: Annotated[float | None, BeforeValidator(_number)] = None

    @property
    def sides(self) -> tuple[int, int] | None:
        """Width and height; None for the model's own.

        Raises:
            InvalidRequest: The size is not of the form 1024x1024.
        """
        if self.size is None:
            return None
        match = _SIZE.fullmatch(self.size)
        if match is None:
            raise InvalidRequest(
                "size is not a size. Use auto, or width and height such as 1024x1024.",
                parameter="size",
                value=self.size,
                allowed="auto, or width and height such as 1024x1024",
            )
        return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """The images of a form, as they were uploaded."""

    images: Sequence[bytes] = ()
    mask: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedBody:
    """A request of the images API.

    Attributes:
        body: Its fields.
        uploads: Its images; None for a generation.
    """

    body: ImageBody
    uploads: Uploads | None = field(default=None, repr=False)


async def parse_generation(request: Request) -> ParsedBody:
    """Parse the JSON body of a generation.

    Raises:
        InvalidRequest: It is not JSON, or a field is unknown or cannot be used.
    """
    content = await request.body()
    if len(content) > MOST_JSON_BYTES:
        raise _bad_body(f"The body is larger than {MOST_JSON_BYTES // 2**20} MiB.")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise _bad_body("The body is not valid JSON.") from None
    if not isinstance(values, dict):
        raise _bad_body("The body must be a JSON object.")
    return ParsedBody(body=_checked(cast("Mapping[str, object]", values)))


async def parse_edit(request: Request) -> ParsedBody:
    """Parse the form of an edit, and read its images; no URL is ever fetched.

    Raises:
        InvalidRequest: It is not a form, an image is missing, or a field is unknown or cannot be used.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise _bad_body(
            "An edit must be a form (multipart/form-data) with the image uploaded as a file. "
            "URLs of images are not fetched."
        )
    try:
        async with request.form(
            max_files=_MOST_IMAGES + 1, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES
        ) as form:
            uploads = await _uploads(form)
            values = {name: value for name, value in form.multi_items() if not isinstance(value, UploadFile)}
    except HTTPException as error:  # what Starlette raises for a form that it cannot parse
        raise _bad_body(f"The form cannot be read: {error.detail}") from None
    return ParsedBody(body=_checked(values), uploads=uploads)


async def _uploads(form: FormData) -> Uploads:
    images: list[bytes] = []
    mask: bytes | None = None
    for name, value in form.multi_items():
        is_image, is_mask = name in {"image", "image[]"} or name.startswith("image["), name == "mask"
        if not (is_image or is_mask):
            if isinstance(value, UploadFile):
                raise _bad_field(name, "is not a file of an edit", "image, image[] and mask")
            continue
        if not isinstance(value, UploadFile):
            raise _bad_field(
                name, "must be uploaded as a file; URLs of images are not fetched", "an uploaded file"
            )
        if is_mask:
            mask = await value.read()
        else:
            images.append(await value.read())
    if not 1 <= len(images) <= _MOST_IMAGES:
        raise _bad_field(
            "image", f"has {len(images)} files", f"1 to {_MOST_IMAGES} uploaded PNG, JPEG or WebP files"
        )
    return Uploads(images=images, mask=mask)


def _checked(values: Mapping[str, object]) -> ImageBody:
    try:
        return ImageBody.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = str(first["loc"][0])[:64] if first["loc"] else "body"
        if first["type"] == "extra_forbidden":
            raise _bad_field(name, "is not a parameter", ", ".join(ImageBody.model_fields)) from None
        reason = first["msg"].replace("Input should be", "must be").replace("Field required", "is missing")
        raise _bad_field(name, reason, _allowed(name)) from None


def _allowed(name: str) -> str:
    annotation = ImageBody.model_fields[name].description if name in ImageBody.model_fields else None
    return annotation or "see the documentation of the OpenAI images API"


def _bad_field(name: str, reason: str, allowed: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {reason}. Use {allowed}.", parameter=name, value=None, allowed=allowed)


def _bad_body(reason: str) -> InvalidRequest:
    return InvalidRequest(reason, parameter="body", value=None, allowed="a request of the OpenAI images API")
