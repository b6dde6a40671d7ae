"""A release of vLLM-Omni: in what its contract differs from the others'; from releases.toml."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

_MAJOR_AND_MINOR = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?!\d)")


class CodePlace(BaseModel):
    """Where in the server's code a route stands."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    file: str
    """Within the installed packages."""
    line: int
    function: str


class Release(BaseModel):
    """What one release knows, refuses and reports."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    version: tuple[int, int]
    """Major and minor."""
    lacks_generation_fields: frozenset[str]
    """Fields of the newest release that this one ignores in /v1/images/generations."""
    lacks_edit_fields: frozenset[str]
    """Likewise in /v1/images/edits."""
    refuses_other_models: bool
    limits_generated_size: bool
    has_default_size_limit: bool
    advises_on_size_limit: bool
    limits_input_pictures: bool
    smallest_layers: int
    sends_files: bool
    names_files_png: bool = False
    """Whether a file is called a PNG whatever it is."""
    bounds_seeds: bool
    zero_edit_seed_is_random: bool
    zero_guidance_is_one: bool
    """A guidance scale of 0 is taken for none given."""
    z_image_guidance: Literal["guidance_scale_above_one", "guidance_scale_above_zero"]
    default_compression: int = Field(ge=0, le=100)
    """The `output_compression` of a request that says none."""
    reported_size: Literal["never", "requested", "written", "made"]
    """The size in a reply: what was asked for, as it was read or as it was written, or the images' own."""
    reports_format: bool
    reports_metrics: bool
    reports_edit_metrics: bool = False
    """Whether those of an edit are told, too; where they are not, they are null."""
    single_input_pipelines: frozenset[str] = frozenset()
    """Pipelines that take one input image only, where newer releases let them take more."""
    loads_unread_images: bool = False
    """Whether an input image that the model does not read is decoded all the same."""
    knows_jpg: bool = True
    """Whether an `output_format` of "jpg" can be encoded."""
    engine_errors: Literal["plain", "of_stage", "with_id", "of_worker"] = "plain"
    """How an error of the engine is told: as it is, with the request's id and its stage, with the id alone,
    or as its worker's."""
    reports_cot: bool = False
    """Whether a reply has a `cot_output`."""
    tells_health: bool = True
    """Whether /health has a body."""
    drops_disconnected: bool
    """A client that leaves takes its generation out of the queue."""
    sleeps: bool
    """There are /v1/omni/sleep and /v1/omni/wakeup."""
    wake_needs_sleep: bool = False
    """Whether /v1/omni/wakeup breaks on a server that never slept."""
    omni_metrics: frozenset[str] | None = None
    """The families of vLLM-Omni's own in /metrics, by their newest names; None for all that there are."""
    metrics_prefix: str = "vllm_omni:"
    """How the names of these families begin."""
    counts_images: bool = True
    """Whether requests for images are counted there."""
    complaint: Literal["twice", "whole", "short"]
    """How a request that broke the schema is told: twice over with a place in the server's code; with
    everything that was given; or with long and nested values left out."""
    names_params: bool = True
    """Whether the complaint names the parameter of its first error."""
    cleans_params: bool = True
    """Whether it is named without the parts of its place that are no names of fields."""
    code_places: Mapping[str, CodePlace] = {}
    """Where in the server's code the routes stand that the complaint names, by method and path."""
    hides_paths: bool
    """Messages are sent without file paths."""
    exports_metrics: bool
    """/metrics has families of vLLM-Omni's own."""


class _Releases(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    release: tuple[Release, ...]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, tables: object) -> object:
        """Each entry with what it shares with the one before it, where it says that it does."""
        complete: list[dict[str, object]] = []
        for entry in cast("dict[str, list[dict[str, object]]]", tables)["release"]:
            own = dict(entry)
            shared = complete[-1] if own.pop("like_the_one_before", False) else {}
            complete.append({**shared, **own})
        return {"release": complete}


def release_for(version: str) -> Release:
    """The release that speaks for a version: the newest not newer; the newest of all for an odd one."""
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
