"""Find out which fields and routes a server has, from its OpenAPI description or its version.

Sources: `/openapi.json`, and if a server hides it, the request models and routes in the wheels of
vLLM-Omni 0.14.0, 0.16.0, ... 0.30.0 (`entrypoints/openai/protocol/images.py`, `api_server.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self, cast

from pydantic_core import from_json

Route = Literal["generations", "edits"]
Source = Literal["openapi", "version", "unknown"]
Version = tuple[int, int]

GENERATIONS_PATH: Final = "/v1/images/generations"
EDITS_PATH: Final = "/v1/images/edits"
SLEEP_PATH: Final = "/v1/omni/sleep"
WAKE_UP_PATH: Final = "/v1/omni/wakeup"

_VERSION: Final = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})(?![0-9])")

_GENERATION_FIELDS: Final[Mapping[Version, str]] = {
    (0, 14): "prompt model n size response_format user negative_prompt num_inference_steps guidance_scale"
    " true_cfg_scale seed lora vae_use_slicing vae_use_tiling",
    (0, 16): "generator_device",
    (0, 20): "layers system_prompt use_system_prompt output_format",
    (0, 22): "bot_task flow_shift extra_params",
    (0, 30): "output_compression return_stage_metrics",
}
_EDIT_FIELDS: Final[Mapping[Version, str]] = {
    (0, 14): "image image[] url url[] prompt model n size response_format output_format background"
    " output_compression user negative_prompt num_inference_steps guidance_scale true_cfg_scale seed lora",
    (0, 16): "generator_device",
    (0, 18): "layers resolution",
    (0, 20): "mask_image reference_image strength",
    (0, 22): "stream bot_task sys_type system_prompt return_stage_metrics",
    (0, 26): "guidance_scale_2",
}
_ROUTES: Final[Mapping[Version, str]] = {
    (0, 14): f"/health /version /metrics /v1/models {GENERATIONS_PATH} {EDITS_PATH}",
    (0, 16): "/v1/videos",
    (0, 20): f"{SLEEP_PATH} {WAKE_UP_PATH}",
}
_FILE_MODE_SINCE: Final[Version] = (0, 24)
# Other servers have a `/version` too: LocalAI's is above 1.
_MAJOR: Final = 1
# Fields of every release of vLLM-Omni that no other server is known to have.
_FIELDS_OF_ITS_OWN: Final = frozenset({"vae_use_slicing", "vae_use_tiling"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a server can do.

    Attributes:
        source: "openapi" (the server's own description), "version" (this module's table), or "unknown" (the
            server reports neither, so every field is assumed to work).
        version: The reply of `/version`; None if there is none.
        generation_fields: The fields of `POST /v1/images/generations`.
        edit_fields: The form fields of `POST /v1/images/edits`.
        routes: The paths that the server answers.
        sends_files: Whether `response_format="file"` returns the image's own bytes.

    A server of another kind that describes itself, such as SGLang's, has the fields that it lists.
    """

    source: Source = "unknown"
    version: str | None = None
    generation_fields: frozenset[str] = frozenset()
    edit_fields: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    sends_files: bool = False

    @classmethod
    def of_version(cls, version: str | None) -> Self:
        """Return the table's entry for a version such as "0.26.0"; "unknown" if it is not one of vLLM."""
        numbers = numbers_of(version)
        if numbers is None or numbers[0] > _MAJOR:
            return cls(version=version)
        return cls(
            source="version",
            version=version,
            generation_fields=_until(_GENERATION_FIELDS, numbers),
            edit_fields=_until(_EDIT_FIELDS, numbers),
            routes=_until(_ROUTES, numbers),
            sends_files=numbers >= _FILE_MODE_SINCE,
        )

    @classmethod
    def of_openapi(cls, description: bytes, version: str | None) -> Self:
        """Return what `/openapi.json` says; if it does not describe images, what the version implies.

        A server with other routes only, such as one for a language model, has none for images.
        """
        document = _json(description)
        generations = _properties(document, GENERATIONS_PATH, "application/json")
        if not generations:
            paths = frozenset(_mapping(_member(document, "paths")))
            if paths and GENERATIONS_PATH not in paths:
                return cls(source="openapi", version=version, routes=paths)
            return cls.of_version(version)
        kinds = _member(_resolve(document, generations.get("response_format")), "enum")
        return cls(
            source="openapi",
            version=version,
            generation_fields=frozenset(generations),
            edit_fields=frozenset(_properties(document, EDITS_PATH, "multipart/form-data")),
            routes=frozenset(_mapping(_member(document, "paths"))),
            sends_files="file" in cast("list[object]", kinds) if isinstance(kinds, list) else False,
        )

    def supports(self, route: Route, field: str) -> bool:
        """Say whether a route reads a field; True if it is not known."""
        fields = self.generation_fields if route == "generations" else self.edit_fields
        return field in fields or not fields

    def has(self, path: str) -> bool:
        """Say whether the server answers a path; True if it is not known."""
        return path in self.routes or not self.routes

    @property
    def is_vllm_omni(self) -> bool:
        """Whether the server has shown that it is a vLLM-Omni; False if it is another one, or not known."""
        return self.source == "version" or self.generation_fields >= _FIELDS_OF_ITS_OWN

    @property
    def numbers(self) -> Version | None:
        """The first two numbers of the version, which match vLLM-Omni's; None if unknown."""
        return numbers_of(self.version)


def numbers_of(version: str | None) -> Version | None:
    """Return the first two numbers of a version such as "0.26.1rc2+cpu"; None for any other text."""
    match = _VERSION.match(version or "")
    return (int(match[1]), int(match[2])) if match else None


def _until(table: Mapping[Version, str], version: Version) -> frozenset[str]:
    """Return everything that the rows up to a version list; an even older server gets the first row."""
    first = min(table)
    return frozenset(
        name for since, names in table.items() if since <= max(version, first) for name in names.split()
    )


def _json(text: bytes) -> object:
    try:
        return cast("object", from_json(text))
    except ValueError:
        return None


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _member(value: object, *names: str) -> object:
    for name in names:
        value = _mapping(value).get(name)
    return value


def _resolve(document: object, schema: object) -> object:
    """Follow a reference such as "#/components/schemas/Name", also inside an `allOf`."""
    parts = _member(schema, "allOf")
    if isinstance(parts, list) and parts:
        schema = cast("list[object]", parts)[0]
    reference = _member(schema, "$ref")
    if not isinstance(reference, str):
        return schema
    return _member(document, *reference.removeprefix("#/").split("/"))


def _properties(document: object, path: str, kind: str) -> dict[str, object]:
    schema = _member(document, "paths", path, "post", "requestBody", "content", kind, "schema")
    return _mapping(_member(_resolve(document, schema), "properties"))
