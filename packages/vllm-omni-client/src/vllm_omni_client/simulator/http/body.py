"""The body of a request, read and checked as the server's framework does it, refusals included."""

import json
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus
from typing import TypeVar, cast

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from vllm_omni_client.simulator.http.edit_request import LISTS, ImageEditRequest
from vllm_omni_client.simulator.http.generation_request import ImageGenerationRequest, request_type
from vllm_omni_client.simulator.http.http_error import Complaint, HttpError
from vllm_omni_client.simulator.http.release import Release

M = TypeVar("M", bound=BaseModel)
_NAMELESS = ("image[]", "url[]")


async def read_generation_request(request: Request, release: Release) -> ImageGenerationRequest:
    """The request for pictures in the body.

    Raises:
        Refusal: It is no JSON, or does not fit the schema.
        HTTPException: It cannot be decoded at all: another shape of error on the server, too.
        starlette.requests.ClientDisconnect: The client left before the body had arrived.
    """
    document = await _plain_document(request)
    lacking = release.lacks_generation_fields
    if not isinstance(document, dict):
        return _validate(request_type(release), document, context=release)
    fields = cast("dict[str, object]", document)
    known = {name: value for name, value in fields.items() if name not in lacking}
    try:
        return _validate(request_type(release), known, context=release)
    except Complaint as complaint:
        raise complaint.about(known, fields) from complaint


async def read_json(request: Request, model: type[M]) -> M:
    """A body of JSON, whatever its type is said to be within `application/*json`.

    Raises:
        Refusal: It does not fit the schema.
        HTTPException: It cannot be decoded at all.
        starlette.requests.ClientDisconnect: The client left before the body had arrived.
    """
    return _validate(model, await _document(request))


async def read_edit_request(request: Request, release: Release) -> ImageEditRequest:
    """The form in the body; what is neither a form nor a multipart one is an empty form.

    Raises:
        Refusal: It does not fit the schema.
        HTTPException: A part is too large, there are too many, or the parts cannot be told apart.
        starlette.requests.ClientDisconnect: The client left before the body had arrived.
    """
    form = await request.form()
    fields: dict[str, object] = {}
    for name in form:
        values = form.getlist(name)
        if name in release.lacks_edit_fields or (name not in LISTS and values[-1] == ""):
            continue
        fields[name] = values if name in LISTS else values[-1]
    return _validate(ImageEditRequest, fields, form=True)


async def _plain_document(request: Request) -> object:
    """The decoded body of a route that takes nothing but plain JSON."""
    document = await _document(request)
    content_type = request.headers.get("content-type", "")
    if content_type.lower().split(";")[0] != "application/json":
        raise Complaint(["Unsupported Media Type: Only 'application/json' is allowed"])
    return document


async def _document(request: Request) -> object:
    """The body, decoded where it is said to be JSON; None for none."""
    content = await request.body()
    if not _is_json(request.headers.get("content-type", "")):
        return content or None
    return _decode(content) if content else None


def _is_json(content_type: str) -> bool:
    """Whether the framework decodes this type before it looks whether the route takes it."""
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (
        subtype == "json" or subtype.endswith("+json")
    )


def _decode(content: bytes) -> object:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        invalid: Mapping[str, object] = {
            "type": "json_invalid",
            "loc": ("body", error.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raise Complaint([invalid]) from error
    except (ValueError, RecursionError) as error:  # no text, a number without end, nested too deeply
        raise HTTPException(HTTPStatus.BAD_REQUEST, "There was an error parsing the body") from error


def _validate(model: type[M], document: object, *, context: object = None, form: bool = False) -> M:
    if document is None:
        missing = {"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}
        raise Complaint([missing])
    try:
        return model.model_validate(document, from_attributes=True, context=context)
    except UnicodeEncodeError as error:  # pydantic cannot hand on a message with half a character
        raise HttpError(HTTPStatus.BAD_REQUEST, str(error), kind="BadRequestError") from error
    except ValidationError as error:
        raise Complaint([_placed(dict(each), form=form) for each in error.errors()]) from error


def _placed(error: dict[str, object], *, form: bool) -> Mapping[str, object]:
    """The error as of the body; a form's missing field has no input, one of JSON has all the others."""
    error.pop("url", None)
    if form and error["type"] == "missing":
        error["input"] = None
    place = cast("tuple[object, ...]", error["loc"])
    # An item of a list that goes by an alias is told without the list's name: a trait of the framework.
    return error | {"loc": ("body", *(place[1:] if form and place[0] in _NAMELESS else place))}
