"""The server's description of itself, /openapi.json: which fields and which routes there are."""

from collections.abc import Mapping

from vllm_omni_client.simulator.generation_request import ImageGenerationRequest

_REFERENCE = "#/components/schemas/{model}"
_GETS = {
    "/load": "Get Server Load Metrics",
    "/version": "Show Version",
    "/metrics": "Metrics",
    "/ping": "Ping",
    "/health": "Health",
    "/v1/models": "Show Available Models",
}


def openapi_document() -> Mapping[str, object]:
    """The document: the simulator's own routes, and the request with every field that it reads."""
    schema = ImageGenerationRequest.model_json_schema(ref_template=_REFERENCE)
    definitions = schema.pop("$defs")
    paths: dict[str, object] = {path: {"get": _operation(summary)} for path, summary in _GETS.items()}
    paths["/ping"] = {"get": _operation("Ping"), "post": _operation("Ping")}
    paths["/v1/images/generations"] = {"post": _operation("Generate Images") | {"requestBody": _body()}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "FastAPI", "version": "0.1.0"},
        "paths": paths,
        "components": {"schemas": {"ImageGenerationRequest": schema, **definitions}},
    }


def _operation(summary: str) -> dict[str, object]:
    return {"summary": summary, "responses": {"200": {"description": "Successful Response"}}}


def _body() -> Mapping[str, object]:
    reference = {"$ref": _REFERENCE.format(model=ImageGenerationRequest.__name__)}
    return {"content": {"application/json": {"schema": reference}}, "required": True}
