"""Define and validate the body of POST /v1/images/generations, as leniently as the server does.

As on the server (vllm-omni 0.30.0), numbers in strings are accepted, unknown fields are ignored, and a value
out of range is reported in pydantic's words; hence pydantic's lax mode.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from vllm_omni_client.simulator.http.parsed_request import Adapter
from vllm_omni_client.simulator.http.release import Release

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1
_MOST_LAYERS = 10
_LORA_IDS = ("int_id", "lora_int_id")
_SYSTEM_PROMPTS = ("dynamic", "en_vanilla", "en_recaption", "en_think_recaption", "en_unified", "custom")


class ResponseFormat(StrEnum):
    """How the images are sent; `url` is a known value that the server refuses."""

    B64_JSON = "b64_json"
    URL = "url"
    FILE = "file"


class OlderResponseFormat(StrEnum):
    """The response formats of releases that send no files."""

    B64_JSON = "b64_json"
    URL = "url"


class GenerationBody(BaseModel):
    """What to generate; errors are reported in the order of the fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, protected_namespaces=())

    prompt: str = Field(description="What the image shows.")
    bot_task: str | None = Field(default=None, description="Task for a HunyuanImage model.")
    model: str | None = Field(default=None, description="The first served name, if given.")
    n: int = Field(default=1, ge=1, le=10, description="Number of images, generated in one forward pass.")
    size: str | None = Field(default=None, description="WIDTHxHEIGHT in pixels.")
    response_format: ResponseFormat = Field(default=ResponseFormat.B64_JSON, description="b64_json or file.")
    user: str | None = Field(default=None, description="Not used.")
    layers: int | None = Field(default=None, description="Number of layers for a layered model, 2 to 10.")
    negative_prompt: str | None = Field(default=None, description="What the image should not show.")
    system_prompt: str | None = Field(default=None, description="System prompt for a HunyuanImage model.")
    use_system_prompt: str | None = Field(default=None, description="Which system prompt to use.")
    num_inference_steps: int | None = Field(default=None, ge=1, le=200, description="Denoising steps.")
    guidance_scale: float | None = Field(default=None, ge=0.0, le=20.0, description="Guidance scale.")
    true_cfg_scale: float | None = Field(
        default=None, ge=0.0, le=20.0, description="Guidance scale of Qwen-Image."
    )
    flow_shift: float | None = Field(default=None, description="Shift of the noise schedule.")
    extra_params: dict[str, object] | None = Field(
        default=None, description="Parameters for a specific pipeline."
    )
    seed: int | None = Field(default=None, ge=_INT64_MIN, le=_INT64_MAX, description="Start of the noise.")
    generator_device: str | None = Field(default=None, description="Device that generates the noise.")
    lora: dict[str, object] | None = Field(default=None, description="Name, path and scale of an adapter.")
    vae_use_slicing: bool | None = Field(default=False, description="Not used.")
    vae_use_tiling: bool | None = Field(default=False, description="Not used.")
    output_format: str | None = Field(default=None, description="png, jpeg or webp.")
    output_compression: int = Field(
        default=100, ge=0, le=100, description="Quality of JPEG or WebP; 100 for PNG without compression."
    )
    return_stage_metrics: bool | None = Field(default=None, description="Add details to `metrics`.")

    @field_validator("size")
    @classmethod
    def _size_has_an_x(cls, size: str | None) -> str | None:
        if size is not None and "x" not in size:
            raise ValueError("size must be in format 'WIDTHxHEIGHT' (e.g., '1024x1024')")
        return size

    @field_validator("response_format")
    @classmethod
    def _response_format_is_not_url(cls, value: ResponseFormat, info: ValidationInfo) -> ResponseFormat:
        if value == ResponseFormat.URL:
            known = "'b64_json' or 'file'" if _release(info).sends_files else "'b64_json'"
            raise ValueError(f"Only {known} response format is supported, got: ResponseFormat.URL")
        return value

    @field_validator("layers")
    @classmethod
    def _layers_in_range(cls, layers: int | None, info: ValidationInfo) -> int | None:
        check_layers(layers, _release(info))
        return layers

    @field_validator("use_system_prompt")
    @classmethod
    def _system_prompt_is_known(cls, name: str | None) -> str | None:
        if name is not None and name not in _SYSTEM_PROMPTS:
            raise ValueError(
                f"Invalid use_system_prompt type: {name}. Must be one of: {[*_SYSTEM_PROMPTS, None]}"
            )
        return name


class _AnySeed(GenerationBody):
    """The request in releases without limits on the seed."""

    seed: int | None = Field(default=None, description="Start of the noise.")


class _JsonOnly(_AnySeed):
    """The request in releases that send no files."""

    response_format: OlderResponseFormat = Field(  # pyright: ignore[reportIncompatibleVariableOverride] - another enumeration in JSON, with equal values
        default=OlderResponseFormat.B64_JSON, description="b64_json."
    )


def request_type(release: Release) -> type[GenerationBody]:
    """Return the request type of a release; it still contains fields that the release lacks."""
    if not release.sends_files:
        return _JsonOnly
    return GenerationBody if release.bounds_seeds else _AnySeed


def _release(info: ValidationInfo) -> Release:
    release = info.context
    if not isinstance(release, Release):
        raise TypeError("A request is validated for a release: pass it as the context.")
    return release


def check_layers(layers: int | None, release: Release) -> None:
    """Check the number of layers of a layered image.

    Args:
        layers: Number of layers; None if the request has none.
        release: The release whose limits apply.

    Raises:
        ValueError: The number is out of range; the message is the server's.
    """
    least = release.smallest_layers
    if layers is not None and not least <= layers <= _MOST_LAYERS:
        raise ValueError(
            f"Invalid layers value {layers}. layers must be between {least} and {_MOST_LAYERS} inclusive."
        )


def parse_size(size: str) -> tuple[int, int]:
    """Parse "WIDTHxHEIGHT" into pixels as the server does: each part may be anything that `int()` accepts.

    Raises:
        ValueError: The size is invalid; the message is the server's, and the reply is 400.
    """
    parts = size.split("x")
    if len(parts) != 2:  # noqa: PLR2004 - width and height
        raise ValueError(
            f"Invalid size format: '{size}'. Expected format: 'WIDTHxHEIGHT' (e.g., '1024x1024'). "
            "Did you mean to use 'x' as separator?"
        )
    try:
        width, height = int(parts[0]), int(parts[1])
    except ValueError:
        raise ValueError(f"Invalid size format: '{size}'. Width and height must be integers.") from None
    if width <= 0 or height <= 0:
        raise ValueError(f"Invalid size: {width}x{height}. Width and height must be positive integers.")
    return width, height


def check_lora(lora: Mapping[str, object]) -> Adapter:
    """Validate the requested adapter and return it.

    Raises:
        ValueError: The adapter is invalid; the message is the server's, and the reply is 400.
        TypeError: A number is given as a list or an object; the reply is 500.
        OverflowError: A number is infinite; the reply is 500.
    """
    name = lora.get("name") or lora.get("lora_name") or lora.get("adapter")
    keys = ("local_path", "path", "lora_path", "lora_local_path")
    path = next((lora[key] for key in keys if lora.get(key)), None)
    if path and all(lora.get(key) is None for key in _LORA_IDS):
        str(path).encode()  # the server derives an id from it before it checks the name
    if not name or not path:
        raise ValueError("Invalid lora object: both name and path are required.")
    scale = _number(lora, float, "scale", "lora_scale")
    identifier = _number(lora, int, *_LORA_IDS)
    if identifier is not None and identifier < 1:
        raise ValueError(f"id must be > 0, got {identifier}")
    return Adapter(path=str(path), scale=1.0 if scale is None else scale)


def _number(lora: Mapping[str, object], kind: type[float], *names: str) -> float | None:
    value = next((lora[name] for name in names if lora.get(name) is not None), None)
    return None if value is None else kind(value)  # pyright: ignore[reportArgumentType] - the server fails on the same values
