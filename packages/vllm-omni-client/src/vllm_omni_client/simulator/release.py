"""A release of vLLM-Omni: in what its contract differs from the others'; from releases.toml."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

_MAJOR_AND_MINOR = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?!\d)")


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
    bounds_seeds: bool
    zero_edit_seed_is_random: bool
    zero_guidance_is_one: bool
    """A guidance scale of 0 is taken for none given."""
    z_image_guidance: Literal["guidance_scale_above_one", "guidance_scale_above_zero"]
    default_compression: int = Field(ge=0, le=100)
    """The `output_compression` of a request that says none."""
    reported_size: Literal["never", "requested", "made"]
    reports_format: bool
    reports_metrics: bool
    drops_disconnected: bool
    """A client that leaves takes its generation out of the queue."""
    sleeps: bool
    """There are /v1/omni/sleep and /v1/omni/wakeup."""
    complaint: Literal["twice", "whole", "short"]
    """How a request that broke the schema is told: twice over with a place in the server's code; with
    everything that was given; or with long and nested values left out."""
    code_lines: Mapping[str, int]
    """Where in the server's code the routes stand that the complaint names."""
    hides_paths: bool
    """Messages are sent without file paths."""
    exports_metrics: bool
    """/metrics has families of vLLM-Omni's own."""
    unhealthy_reason: str | None = None
    """What /health says of a dead engine."""


class _Releases(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    release: tuple[Release, ...]


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
