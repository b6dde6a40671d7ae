"""The body of a request, read and checked as the server's framework does it, refusals included."""

import json
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from vllm_omni_client.simulator.generation_request import ImageGenerationRequest
from vllm_omni_client.simulator.refusal import validation_refusal


async def read_generation_request(request: Request) -> ImageGenerationRequest:
    """The request for pictures in the body.

    Raises:
        Refusal: It is no JSON, or does not fit the schema.
        HTTPException: It cannot be decoded at all: another shape of error on the server, too.
        starlette.requests.ClientDisconnect: The client left before the body had arrived.
    """
    content_type = request.headers.get("content-type", "")
    content = await request.body()
    document = _decoded(content) if content and _is_json(content_type) else None
    if content_type.lower().split(";")[0] != "application/json":
        raise validation_refusal(["Unsupported Media Type: Only 'application/json' is allowed"])
    if document is None:
        missing = {"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}
        raise validation_refusal([missing])
    return _validated(document)


def _is_json(content_type: str) -> bool:
    """Whether the framework decodes this type before it looks whether the route takes it."""
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (
        subtype == "json" or subtype.endswith("+json")
    )


def _decoded(content: bytes) -> object:
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
        raise validation_refusal([invalid]) from error
    except (ValueError, RecursionError) as error:  # no text, a number without end, nested too deeply
        raise HTTPException(HTTPStatus.BAD_REQUEST, "There was an error parsing the body") from error


def _validated(document: object) -> ImageGenerationRequest:
    try:
        return ImageGenerationRequest.model_validate(document, from_attributes=True)
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise validation_refusal(errors) from error
