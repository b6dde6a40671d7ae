"""Look up how a release of vLLM-Omni differs from the others, from releases.toml."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

_MAJOR_AND_MINOR = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?!\d)")


class CodePlace(BaseModel):
    """Where a route is defined in the server's code."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    file: str
    """Path within the installed packages."""
    line: int
    function: str


class Release(BaseModel):
    """What one release supports, refuses and reports."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    version: tuple[int, int]
    """Major and minor."""
    lacks_generation_fields: frozenset[str]
    """Fields of the newest release that this one ignores in /v1/images/generations."""
    lacks_edit_fields: frozenset[str]
    """Fields that it ignores in /v1/images/edits."""
    refuses_other_models: bool
    limits_generated_size: bool
    has_default_size_limit: bool
    advises_on_size_limit: bool
    limits_input_pictures: bool
    smallest_layers: int
    sends_files: bool
    names_files_png: bool = False
    """Whether a file is always named and typed as PNG, whatever its format."""
    bounds_seeds: bool
    zero_edit_seed_is_random: bool
    zero_guidance_is_one: bool
    """Whether a guidance scale of 0 counts as not given."""
    z_image_guidance: Literal["guidance_scale_above_one", "guidance_scale_above_zero"]
    default_compression: int = Field(ge=0, le=100)
    """The `output_compression` if a request gives none."""
    reported_size: Literal["never", "requested", "written", "actual"]
    """The size in a reply: none, the requested size as parsed or as written, or the images' actual size."""
    reports_format: bool
    reports_metrics: bool
    reports_edit_metrics: bool = False
    """Whether edits report metrics too; otherwise `metrics` is null for them."""
    single_input_pipelines: frozenset[str] = frozenset()
    """Pipelines that accept only one input image, although newer releases let them accept more."""
    loads_unread_images: bool = False
    """Whether an input image is decoded even if the model does not read it."""
    encodes_jpg: bool = True
    """Whether an `output_format` of "jpg" can be encoded."""
    engine_errors: Literal["plain", "with_stage", "with_id", "as_worker"] = "plain"
    """How an engine error is reported: as it is, with the request's id and stage, with the id alone, or as a
    worker error."""
    reports_cot: bool = False
    """Whether a reply has a `cot_output`."""
    health_has_body: bool = True
    """Whether /health has a body."""
    drops_disconnected: bool
    """Whether a request whose client disconnects leaves the queue."""
    sleeps: bool
    """Whether /v1/omni/sleep and /v1/omni/wakeup exist."""
    wake_needs_sleep: bool = False
    """Whether /v1/omni/wakeup crashes on a server that never slept."""
    omni_metrics: frozenset[str] | None = None
    """vLLM-Omni's own metric families in /metrics, by their newest names; None: all."""
    metrics_prefix: str = "vllm_omni:"
    """Prefix of the names of these families."""
    counts_images: bool = True
    """Whether /metrics counts image requests."""
    validation_errors: Literal["twice", "full", "short"]
    """How validation errors are reported: twice and with a place in the server's code; with the complete
    input; or without long and nested values."""
    names_params: bool = True
    """Whether a validation error gives the parameter of its first error."""
    cleans_params: bool = True
    """Whether that parameter contains only field names, without schema types."""
    code_places: Mapping[str, CodePlace] = {}
    """Where the server's code defines the routes that validation errors mention, by method and path."""
    hides_paths: bool
    """Whether file paths are removed from messages."""
    exports_metrics: bool
    """Whether /metrics has vLLM-Omni's own families."""


class _Releases(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    release: tuple[Release, ...]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, tables: object) -> object:
        """Fill in each entry from the one before it, if it says `inherits_previous`."""
        complete: list[dict[str, object]] = []
        for entry in cast("dict[str, list[dict[str, object]]]", tables)["release"]:
            own = dict(entry)
            shared = complete[-1] if own.pop("inherits_previous", False) else {}
            complete.append({**shared, **own})
        return {"release": complete}


def release_for(version: str) -> Release:
    """Return the newest release up to a version, or the newest of all if the version cannot be parsed."""
    releases = _releases()
    numbers = _MAJOR_AND_MINOR.match(version)
    if numbers is None:
        return releases[-1]
    wanted = int(numbers[1]), int(numbers[2])
    return next((each for each in reversed(releases) if each.version <= wanted), releases[0])


@cache
def _releases() -> tuple[Release, ...]:
    text = files("vllm_omni_client.simulator").joinpath("releases.toml").read_text(encoding="utf-8")
    return _Releases.model_validate(tomllib.loads(text)).release
