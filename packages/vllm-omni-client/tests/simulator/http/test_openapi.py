"""The simulator's /openapi.json, as FastAPI writes that of vLLM-Omni 0.30.0."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import httpx
import pytest
from vllm_omni_client.simulator import SimulatorSettings, create_app


@pytest.fixture
async def document() -> Mapping[str, Any]:
    transport = httpx.ASGITransport(create_app(SimulatorSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
        return (await http.get("/openapi.json")).json()


def members(value: object) -> Iterator[tuple[str, object]]:
    """Every name with its value, at any depth."""
    if isinstance(value, dict):
        for name, inner in cast("dict[str, object]", value).items():
            yield name, inner
            yield from members(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from members(inner)


async def test_every_operation_has_an_id_of_its_own(document: Mapping[str, Any]) -> None:
    operations = [
        (method, path, operation["operationId"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len({identifier for _, _, identifier in operations}) == len(operations)
    assert ("post", "/v1/images/edits", "edit_images_v1_images_edits_post") in operations
    assert ("get", "/v1/videos/{video_id}", "retrieve_video_v1_videos__video_id__get") in operations
    assert ("get", "/health", "health_health_get") in operations


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/edits"])
async def test_the_errors_of_an_image_route_are_described(path: str, document: Mapping[str, Any]) -> None:
    responses = document["paths"][path]["post"]["responses"]
    assert list(responses) == ["200", "400", "503", "500", "422"]
    described = {status: each["description"] for status, each in responses.items()}
    assert described["503"] == "Service Unavailable"
    assert described["422"] == "Validation Error"
    schemas = {
        status: each["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for status, each in responses.items()
    }
    assert schemas == {
        "200": "ImageGenerationResponse",
        **dict.fromkeys(("400", "503", "500"), "ErrorResponse"),
        "422": "HTTPValidationError",
    }


async def test_every_reference_leads_to_a_schema(document: Mapping[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert {value for name, value in members(document) if name == "$ref"} <= known


async def test_a_field_that_may_be_omitted_has_no_default_of_null(document: Mapping[str, Any]) -> None:
    assert None not in [value for name, value in members(document) if name == "default"]
    properties = document["components"]["schemas"]["ImageGenerationRequest"]["properties"]
    assert properties["vae_use_tiling"]["default"] is False
    seed = properties["seed"]["anyOf"][0]
    assert (seed["minimum"], seed["maximum"]) == (-9.223372036854776e18, 9.223372036854776e18)
