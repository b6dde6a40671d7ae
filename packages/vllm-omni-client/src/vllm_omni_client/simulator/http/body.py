"""Read and validate request bodies as the server's framework does, with the same errors."""

import json
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus
from typing import TypeVar, cast

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from vllm_omni_client.simulator.http.edit_request import LISTS, EditBody
from vllm_omni_client.simulator.http.generation_request import GenerationBody, request_type
from vllm_omni_client.simulator.http.http_error import HttpError, RequestValidationError
from vllm_omni_client.simulator.http.release import Release

M = TypeVar("M", bound=BaseModel)
_ALIASED_LISTS = ("image[]", "url[]")


async def read_generation_request(request: Request, release: Release) -> GenerationBody:
    """Read the request for images from a JSON body.

    Raises:
        HttpError: The body is not JSON, or it does not fit the schema.
        HTTPException: The body cannot be decoded at all; on the server, too, this error has another shape.
        starlette.requests.ClientDisconnect: The client disconnected before the body had arrived.
    """
    document = await _plain_document(request)
    lacking = release.lacks_generation_fields
    if not isinstance(document, dict):
        return _validate(request_type(release), document, context=release)
    fields = cast("dict[str, object]", document)
    known = {name: value for name, value in fields.items() if name not in lacking}
    try:
        return _validate(request_type(release), known, context=release)
    except RequestValidationError as error:
        raise error.with_full_input(known, fields) from error


async def read_json(request: Request, model: type[M]) -> M:
    """Read a JSON body of any content type `application/json` or `application/*+json`.

    Raises:
        HttpError: The body does not fit the schema.
        HTTPException: The body cannot be decoded at all.
        starlette.requests.ClientDisconnect: The client disconnected before the body had arrived.
    """
    return _validate(model, await _document(request))


async def read_edit_request(request: Request, release: Release) -> EditBody:
    """Read the form in the body; a body that is not a form counts as an empty one.

    Raises:
        HttpError: The form does not fit the schema.
        HTTPException: A part is too large, there are too many parts, or they cannot be separated.
        starlette.requests.ClientDisconnect: The client disconnected before the body had arrived.
    """
    form = await request.form()
    fields: dict[str, object] = {}
    for name in form:
        values = form.getlist(name)
        if name in release.lacks_edit_fields or (name not in LISTS and values[-1] == ""):
            continue
        fields[name] = values if name in LISTS else values[-1]
    return _validate(EditBody, fields, form=True)


async def _plain_document(request: Request) -> object:
    """Decode the body of a route that accepts only `application/json`."""
    document = await _document(request)
    content_type = request.headers.get("content-type", "")
    if content_type.lower().split(";")[0] != "application/json":
        raise RequestValidationError(["Unsupported Media Type: Only 'application/json' is allowed"])
    return document


async def _document(request: Request) -> object:
    """Return the body, decoded if its content type is JSON; None if it is empty."""
    content = await request.body()
    if not _is_json(request.headers.get("content-type", "")):
        return content or None
    return _decode(content) if content else None


def _is_json(content_type: str) -> bool:
    """Return whether the framework decodes this content type before checking that the route accepts it."""
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
        raise RequestValidationError([invalid]) from error
    except (ValueError, RecursionError) as error:  # invalid text, a number too long, nested too deeply
        raise HTTPException(HTTPStatus.BAD_REQUEST, "There was an error parsing the body") from error


def _validate(model: type[M], document: object, *, context: object = None, form: bool = False) -> M:
    if document is None:
        missing = {"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}
        raise RequestValidationError([missing])
    try:
        return model.model_validate(document, from_attributes=True, context=context)
    except UnicodeEncodeError as error:  # pydantic cannot report a message with a lone surrogate
        raise HttpError(HTTPStatus.BAD_REQUEST, str(error), kind="BadRequestError") from error
    except ValidationError as error:
        raise RequestValidationError(
            [_locate_in_body(dict(each), form=form) for each in error.errors()]
        ) from error


def _locate_in_body(error: dict[str, object], *, form: bool) -> Mapping[str, object]:
    """Prefix the error's place with `body`, and drop the input of a missing form field."""
    error.pop("url", None)
    if form and error["type"] == "missing":
        error["input"] = None
    place = cast("tuple[object, ...]", error["loc"])
    # The framework reports an item of an aliased list without the list's name.
    return error | {"loc": ("body", *(place[1:] if form and place[0] in _ALIASED_LISTS else place))}
