"""What a server can do is read from its own description, or from its version."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from vllm_omni_client.capabilities import Capabilities, numbers_of

SCHEMA: Mapping[str, object] = {
    "paths": {
        "/health": {},
        "/v1/images/generations": {
            "post": {
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Wish"}}}
                }
            }
        },
        "/v1/images/edits": {
            "post": {
                "requestBody": {
                    "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/Form"}}}
                }
            }
        },
    },
    "components": {
        "schemas": {
            "Wish": {
                "properties": {
                    "prompt": {},
                    "response_format": {"allOf": [{"$ref": "#/components/schemas/Kind"}]},
                }
            },
            "Form": {"properties": {"prompt": {}, "image": {}}},
            "Kind": {"enum": ["b64_json", "url", "file"]},
        }
    },
}


def test_a_server_describes_itself() -> None:
    assert Capabilities.of_openapi(json.dumps(SCHEMA).encode(), "0.31.0") == Capabilities(
        source="openapi",
        version="0.31.0",
        generation_fields=frozenset({"prompt", "response_format"}),
        edit_fields=frozenset({"prompt", "image"}),
        routes=frozenset({"/health", "/v1/images/generations", "/v1/images/edits"}),
        sends_files=True,
    )


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"<html>", b'{"paths": 7}', b"[" * 5000])
def test_a_description_without_images_falls_back_to_the_version(text: bytes) -> None:
    assert Capabilities.of_openapi(text, "0.20.0") == Capabilities.of_version("0.20.0")


def test_a_server_for_a_language_model_has_no_routes_for_images() -> None:
    description = b'{"paths": {"/v1/chat/completions": {}, "/v1/models": {}, "/health": {}}}'
    known = Capabilities.of_openapi(description, "0.30.0")
    assert not known.has("/v1/images/generations")
    assert known.has("/v1/chat/completions")


def test_a_reference_that_leads_nowhere_does_not_crash() -> None:
    schema = json.dumps(SCHEMA).replace("schemas/Kind", "schemas/Gone").encode()
    assert not Capabilities.of_openapi(schema, None).sends_files


@pytest.mark.parametrize(
    ("version", "generations", "edits", "files", "sleeps"),
    [
        ("0.14.0", 14, 19, False, False),
        ("0.16.0", 15, 20, False, False),
        ("0.18.0", 15, 22, False, False),
        ("0.20.0", 19, 25, False, True),
        ("0.22.0", 22, 30, False, True),
        ("0.24.0", 22, 30, True, True),
        ("0.26.1", 22, 31, True, True),
        ("0.30.0", 24, 31, True, True),
        ("1.0.0rc1+cpu", 24, 31, True, True),
        ("0.11.0", 14, 19, False, False),
    ],
)
def test_the_table_of_versions(
    version: str, generations: int, edits: int, *, files: bool, sleeps: bool
) -> None:
    server = Capabilities.of_version(version)
    assert (len(server.generation_fields), len(server.edit_fields)) == (generations, edits)
    assert (server.sends_files, server.has("/v1/omni/sleep")) == (files, sleeps)
    assert server.source == "version"


@pytest.mark.parametrize("version", [None, "", "dev", "v", "latest"])
def test_a_server_that_says_nothing_is_not_held_to_anything(version: str | None) -> None:
    server = Capabilities.of_version(version)
    assert server == Capabilities(version=version)
    assert server.supports("generations", "anything")
    assert server.supports("edits", "anything")
    assert server.has("/anything")
    assert server.numbers is None


def test_the_first_two_numbers_are_the_version() -> None:
    assert numbers_of("v0.30.0.dev12+gabc") == (0, 30)
    assert numbers_of("0.30") == (0, 30)
    assert numbers_of("12345.1") is None


@pytest.mark.parametrize("version", ["v3.8.0", "2.1.0", "main", "", None])
def test_the_version_of_another_server_says_nothing_about_its_fields(version: str | None) -> None:
    server = Capabilities.of_version(version)
    assert (server.source, server.version, server.is_vllm_omni) == ("unknown", version, False)


def test_vllm_omni_is_recognised_by_its_version_or_by_its_own_fields() -> None:
    omni = Capabilities.of_version("0.30.0")
    assert omni.is_vllm_omni
    assert replace(omni, source="openapi").is_vllm_omni
    assert not replace(omni, source="openapi", generation_fields=frozenset({"prompt", "seed"})).is_vllm_omni
