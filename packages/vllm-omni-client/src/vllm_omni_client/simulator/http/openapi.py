"""Build /openapi.json: the routes and request fields that a release of the server declares."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

from vllm_omni_client.simulator.engine.state import SleepRequest, WakeupRequest
from vllm_omni_client.simulator.http.edit_request import EditBody
from vllm_omni_client.simulator.http.generation_request import request_type
from vllm_omni_client.simulator.http.release import Release

Schema = dict[str, object]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, as the server's framework describes it."""

    method: str
    path: str
    name: str
    """Name of the server's handler function; the framework derives the summary and the id from it."""
    errors: tuple[int, ...] = ()
    """Status codes of its errors, in the document's order."""
    body: str | None = None
    """Schema of the request body; None if there is none."""
    takes: str = "application/json"
    reply: str | None = None
    """Schema of the reply; None if it is not described."""
    sends: str | None = "application/json"
    """Media type of the reply; None for an empty reply."""

    def document_entry(self) -> Schema:
        """Build the operation's entry in the document."""
        place = re.sub(r"\W", "_", self.path)
        described: Schema = {
            "summary": self.name.replace("_", " ").title(),
            "operationId": f"{self.name}{place}_{self.method.lower()}",
        }
        if self.body is not None:
            described["requestBody"] = {
                "content": _content(self.takes, _reference(self.body)),
                "required": True,
            }
        schema = {} if self.reply is None else _reference(self.reply)
        answer = {} if self.sends is None else {"content": _content(self.sends, schema)}
        responses: Schema = {"200": {"description": "Successful Response", **answer}}
        for status in self.errors:
            responses[str(status)] = _error(status)
        return {**described, "responses": responses}


_REFERENCE: Final = "#/components/schemas/{model}"
_GENERATION: Final = "ImageGenerationRequest"
_EDIT: Final = "Body_edit_images_v1_images_edits_post"
_IMAGES: Final = "ImageGenerationResponse"
_RESPONSE_FORMAT: Final = "vllm_omni__entrypoints__openai__protocol__images__ResponseFormat"
_ERRORS: Final = (400, 503, 500, 422)
_PLAIN_TEXT: Final = "text/plain; version=1.0.0; charset=utf-8"
_OPERATIONS: Final = (
    Operation("GET", "/load", "get_server_load_metrics"),
    Operation("GET", "/version", "show_version"),
    Operation("GET", "/metrics", "metrics", sends=_PLAIN_TEXT),
    Operation("GET", "/ping", "ping", sends=None),
    Operation("POST", "/ping", "ping", sends=None),
    Operation("GET", "/health", "health"),
    Operation("GET", "/v1/models", "show_available_models"),
    Operation("POST", "/v1/images/generations", "generate_images", _ERRORS, body=_GENERATION, reply=_IMAGES),
    Operation(
        "POST",
        "/v1/images/edits",
        "edit_images",
        _ERRORS,
        body=_EDIT,
        takes="multipart/form-data",
        reply=_IMAGES,
    ),
)
_SLEEP_OPERATIONS: Final = (
    Operation("POST", "/v1/omni/sleep", "omni_sleep", (422,), body="OmniSleepRequest"),
    Operation("POST", "/v1/omni/wakeup", "omni_wakeup", (422,), body="OmniWakeupRequest"),
)


def openapi_document(release: Release, others: Iterable[Operation] = ()) -> Mapping[str, object]:
    """Build the document: the simulator's routes, and request schemas with every field that a release reads.

    Args:
        release: The release whose fields and routes to list.
        others: Further routes, whose bodies are not described.
    """
    operations = (*_OPERATIONS, *(_SLEEP_OPERATIONS if release.sleeps else ()), *others)
    paths: dict[str, Schema] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation.document_entry()
    return {
        "openapi": "3.1.0",
        "info": {"title": "FastAPI", "version": "0.1.0"},
        "paths": paths,
        "components": {"schemas": _as_framework_writes(_schemas(release))},
    }


def _schemas(release: Release) -> Schema:
    generation = request_type(release).model_json_schema(ref_template=_REFERENCE)
    [response_format] = generation.pop("$defs").values()
    # The server has two schemas of this name; its framework adds the module to tell them apart.
    generation["properties"]["response_format"]["$ref"] = _REFERENCE.format(model=_RESPONSE_FORMAT)
    schemas: Schema = {
        _GENERATION: _without(generation, release.lacks_generation_fields),
        _RESPONSE_FORMAT: {**response_format, "title": "ResponseFormat"},
        _EDIT: _without(EditBody.model_json_schema(), release.lacks_edit_fields),
        **_REPLIES,
    }
    if release.sleeps:
        schemas["OmniSleepRequest"] = SleepRequest.model_json_schema()
        schemas["OmniWakeupRequest"] = WakeupRequest.model_json_schema()
    for name in (_GENERATION, _EDIT, "OmniSleepRequest", "OmniWakeupRequest"):
        if name in schemas:
            schemas[name] = {**cast("Schema", schemas[name]), "title": name}
            cast("Schema", schemas[name]).pop("description", None)
    return schemas


def _as_framework_writes(schema: object, *, is_schema: bool = True) -> object:
    """Drop null defaults and turn limits into floats, as FastAPI does."""
    if isinstance(schema, list):
        return [_as_framework_writes(each) for each in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    kept: Schema = {}
    for name, value in cast("Schema", schema).items():
        if is_schema and name == "default" and value is None:
            continue
        if is_schema and name in {"minimum", "maximum"} and isinstance(value, int):
            kept[name] = float(value)
        else:
            kept[name] = _as_framework_writes(value, is_schema=name != "properties")
    return kept


def _without(schema: Schema, lacking: Iterable[str]) -> Schema:
    properties = cast("Mapping[str, object]", schema["properties"])
    kept = {name: value for name, value in properties.items() if name not in lacking}
    return {**schema, "properties": kept}


def _reference(model: str) -> Schema:
    return {"$ref": _REFERENCE.format(model=model)}


def _content(media_type: str, schema: Schema) -> Schema:
    described: Schema = {"type": "string"} if media_type == _PLAIN_TEXT else schema
    return {media_type: {"schema": described}}


def _error(status: int) -> Schema:
    """Describe an error reply; the phrases are those of the server's framework, whatever Python runs here."""
    invalid = status == HTTPStatus.UNPROCESSABLE_ENTITY
    phrase = "Validation Error" if invalid else HTTPStatus(status).phrase
    schema = "HTTPValidationError" if invalid else "ErrorResponse"
    return {"description": phrase, "content": _content("application/json", _reference(schema))}


def _text(title: str, *, optional: bool = True) -> Schema:
    if optional:
        return {"anyOf": [{"type": "string"}, {"type": "null"}], "title": title}
    return {"type": "string", "title": title}


def _object(
    title: str, properties: Schema, required: tuple[str, ...] = (), *, is_open: bool = False
) -> Schema:
    return {
        "properties": properties,
        **({"additionalProperties": True} if is_open else {}),
        "type": "object",
        **({"required": list(required)} if required else {}),
        "title": title,
    }


_REPLIES: Final[Schema] = {
    "ErrorInfo": _object(
        "ErrorInfo",
        {
            "message": _text("Message", optional=False),
            "type": _text("Type", optional=False),
            "param": _text("Param"),
            "code": {"type": "integer", "title": "Code"},
        },
        ("message", "type", "code"),
        is_open=True,
    ),
    "ErrorResponse": _object("ErrorResponse", {"error": _reference("ErrorInfo")}, ("error",), is_open=True),
    "HTTPValidationError": _object(
        "HTTPValidationError",
        {"detail": {"items": _reference("ValidationError"), "type": "array", "title": "Detail"}},
    ),
    "ImageData": _object(
        "ImageData",
        {
            "b64_json": _text("B64 Json"),
            "url": _text("Url"),
            "revised_prompt": _text("Revised Prompt"),
        },
    ),
    "ImageGenerationResponse": _object(
        "ImageGenerationResponse",
        {
            "created": {"type": "integer", "title": "Created"},
            "data": {"items": _reference("ImageData"), "type": "array", "title": "Data"},
            "output_format": _text("Output Format"),
            "size": _text("Size", optional=False),
            "cot_output": _text("Cot Output"),
            "metrics": {
                "anyOf": [{"additionalProperties": True, "type": "object"}, {"type": "null"}],
                "title": "Metrics",
            },
        },
        ("created", "data"),
    ),
    "ValidationError": _object(
        "ValidationError",
        {
            "loc": {
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "type": "array",
                "title": "Location",
            },
            "msg": _text("Message", optional=False),
            "type": _text("Error Type", optional=False),
            "input": {"title": "Input"},
            "ctx": {"type": "object", "title": "Context"},
        },
        ("loc", "msg", "type"),
    ),
}
