"""The server's description of itself, /openapi.json: which fields and which routes there are."""

from collections.abc import Iterable, Mapping
from typing import cast

from vllm_omni_client.simulator.condition import SleepRequest, WakeupRequest
from vllm_omni_client.simulator.edit_request import ImageEditRequest
from vllm_omni_client.simulator.generation_request import request_type
from vllm_omni_client.simulator.release import Release

Schema = dict[str, object]
_REFERENCE = "#/components/schemas/{model}"
_EDIT = "Body_edit_images_v1_images_edits_post"
_GETS = {
    "/load": "Get Server Load Metrics",
    "/version": "Show Version",
    "/metrics": "Metrics",
    "/ping": "Ping",
    "/health": "Health",
    "/v1/models": "Show Available Models",
}


def openapi_document(release: Release, others: Iterable[tuple[str, str]] = ()) -> Mapping[str, object]:
    """The document: the simulator's own routes, and the requests with every field that a release reads.

    Args:
        release: Which fields and routes there are.
        others: Methods and paths of routes that are named and not described.
    """
    generation = request_type(release).model_json_schema(ref_template=_REFERENCE)
    definitions = generation.pop("$defs")
    schemas: dict[str, object] = {
        "ImageGenerationRequest": _without(generation, release.lacks_generation_fields),
        _EDIT: _without(ImageEditRequest.model_json_schema(), release.lacks_edit_fields),
        **definitions,
    }
    paths: dict[str, object] = {path: {"get": _operation(summary)} for path, summary in _GETS.items()}
    paths["/ping"] = {"get": _operation("Ping"), "post": _operation("Ping")}
    paths["/v1/images/generations"] = _post("Generate Images", "ImageGenerationRequest")
    paths["/v1/images/edits"] = _post("Edit Images", _EDIT, media_type="multipart/form-data")
    if release.sleeps:
        schemas["OmniSleepRequest"] = SleepRequest.model_json_schema()
        schemas["OmniWakeupRequest"] = WakeupRequest.model_json_schema()
        paths["/v1/omni/sleep"] = _post("Omni Sleep", "OmniSleepRequest")
        paths["/v1/omni/wakeup"] = _post("Omni Wakeup", "OmniWakeupRequest")
    for method, path in others:
        known = cast("Schema", paths.setdefault(path, {}))
        known[method.lower()] = _operation(path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "FastAPI", "version": "0.1.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _without(schema: Schema, lacking: Iterable[str]) -> Schema:
    properties = cast("Mapping[str, object]", schema["properties"])
    kept = {name: value for name, value in properties.items() if name not in lacking}
    return {**schema, "properties": kept}


def _operation(summary: str) -> Schema:
    return {"summary": summary, "responses": {"200": {"description": "Successful Response"}}}


def _post(summary: str, model: str, *, media_type: str = "application/json") -> Schema:
    reference = {"$ref": _REFERENCE.format(model=model)}
    body = {"content": {media_type: {"schema": reference}}, "required": True}
    return {"post": _operation(summary) | {"requestBody": body}}
