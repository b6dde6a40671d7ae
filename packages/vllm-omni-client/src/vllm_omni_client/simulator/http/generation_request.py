"""The body of POST /v1/images/generations as the server takes it: lenient where the server is lenient.

Numbers in strings are taken, unknown fields ignored, and a value out of its range is reported in pydantic's
words; each of these is the server's behaviour (vllm-omni 0.30.0), so this is pydantic in its lax mode.
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
    """How the pictures are sent; a URL is known by name only."""

    B64_JSON = "b64_json"
    URL = "url"
    FILE = "file"


class OlderResponseFormat(StrEnum):
    """The same before there were files."""

    B64_JSON = "b64_json"
    URL = "url"


class ImageGenerationRequest(BaseModel):
    """What to draw; the order of the fields is the order of the errors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, protected_namespaces=())

    prompt: str = Field(description="What the picture shows.")
    bot_task: str | None = Field(default=None, description="Task of a HunyuanImage model.")
    model: str | None = Field(default=None, description="The first served name, or nothing.")
    n: int = Field(default=1, ge=1, le=10, description="Pictures in one forward pass.")
    size: str | None = Field(default=None, description="WIDTHxHEIGHT in pixels.")
    response_format: ResponseFormat = Field(default=ResponseFormat.B64_JSON, description="b64_json or file.")
    user: str | None = Field(default=None, description="Not used.")
    layers: int | None = Field(default=None, description="Layers of a layered model, 2 to 10.")
    negative_prompt: str | None = Field(default=None, description="What the picture should not show.")
    system_prompt: str | None = Field(default=None, description="System prompt of a HunyuanImage model.")
    use_system_prompt: str | None = Field(default=None, description="Which system prompt to use.")
    num_inference_steps: int | None = Field(default=None, ge=1, le=200, description="Denoising steps.")
    guidance_scale: float | None = Field(default=None, ge=0.0, le=20.0, description="Guidance.")
    true_cfg_scale: float | None = Field(default=None, ge=0.0, le=20.0, description="Guidance of Qwen-Image.")
    flow_shift: float | None = Field(default=None, description="Shift of the noise schedule.")
    extra_params: dict[str, object] | None = Field(default=None, description="Parameters of one pipeline.")
    seed: int | None = Field(default=None, ge=_INT64_MIN, le=_INT64_MAX, description="Start of the noise.")
    generator_device: str | None = Field(default=None, description="Where the noise is drawn.")
    lora: dict[str, object] | None = Field(default=None, description="name, path, scale of an adapter.")
    vae_use_slicing: bool | None = Field(default=False, description="Not used.")
    vae_use_tiling: bool | None = Field(default=False, description="Not used.")
    output_format: str | None = Field(default=None, description="png, jpeg or webp.")
    output_compression: int = Field(default=100, ge=0, le=100, description="Quality, or 100 for plain PNG.")
    return_stage_metrics: bool | None = Field(default=None, description="Tell more in `metrics`.")

    @field_validator("size")
    @classmethod
    def _size_has_an_x(cls, size: str | None) -> str | None:
        if size is not None and "x" not in size:
            raise ValueError("size must be in format 'WIDTHxHEIGHT' (e.g., '1024x1024')")
        return size

    @field_validator("response_format")
    @classmethod
    def _response_format_is_no_url(cls, value: ResponseFormat, info: ValidationInfo) -> ResponseFormat:
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


class _AnySeed(ImageGenerationRequest):
    """The same before seeds had bounds."""

    model_config: ClassVar[ConfigDict] = ConfigDict(title="ImageGenerationRequest")

    seed: int | None = Field(default=None, description="Start of the noise.")


class _JsonOnly(_AnySeed):
    """The same before there were files."""

    response_format: OlderResponseFormat = Field(  # pyright: ignore[reportIncompatibleVariableOverride] - another enumeration in JSON, and nothing here tells them apart
        default=OlderResponseFormat.B64_JSON, description="b64_json."
    )


def request_type(release: Release) -> type[ImageGenerationRequest]:
    """The request as a release declares it, but for the fields that it lacks."""
    if not release.sends_files:
        return _JsonOnly
    return ImageGenerationRequest if release.bounds_seeds else _AnySeed


def _release(info: ValidationInfo) -> Release:
    release = info.context
    if not isinstance(release, Release):
        raise TypeError("A request is validated for a release: pass it as the context.")
    return release


def check_layers(layers: int | None, release: Release) -> None:
    """Whether a layered picture may have so many layers.

    Args:
        layers: How many.
        release: Whose bounds hold.

    Raises:
        ValueError: In the server's words.
    """
    least = release.smallest_layers
    if layers is not None and not least <= layers <= _MOST_LAYERS:
        raise ValueError(
            f"Invalid layers value {layers}. layers must be between {least} and {_MOST_LAYERS} inclusive."
        )


def parse_size(size: str) -> tuple[int, int]:
    """Width and height in pixels, as the server reads "WIDTHxHEIGHT": with everything that `int()` takes.

    Raises:
        ValueError: In the server's words, for a reply of 400.
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
    """The adapter that is asked for.

    Raises:
        ValueError: In the server's words, for a reply of 400.
        TypeError: A number is given as a list or an object, for a reply of 500.
        OverflowError: A number is infinite, likewise.
    """
    name = lora.get("name") or lora.get("lora_name") or lora.get("adapter")
    keys = ("local_path", "path", "lora_path", "lora_local_path")
    path = next((lora[key] for key in keys if lora.get(key)), None)
    if path and all(lora.get(key) is None for key in _LORA_IDS):
        str(path).encode()  # the server makes an id of it, before it looks for a name
    if not name or not path:
        raise ValueError("Invalid lora object: both name and path are required.")
    scale = _number(lora, float, "scale", "lora_scale")
    identifier = _number(lora, int, *_LORA_IDS)
    if identifier is not None and identifier < 1:
        raise ValueError(f"id must be > 0, got {identifier}")
    return Adapter(path=str(path), scale=1.0 if scale is None else scale)


def _number(lora: Mapping[str, object], kind: type[float], *names: str) -> float | None:
    value = next((lora[name] for name in names if lora.get(name) is not None), None)
    return None if value is None else kind(value)  # pyright: ignore[reportArgumentType] - what it refuses is the server's refusal
