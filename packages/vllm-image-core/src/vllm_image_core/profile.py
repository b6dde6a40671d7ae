"""A model profile: what is known of a model, each number with its source."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from vllm_image_core.errors import BadProfile
from vllm_image_core.size import PIXELS_PER_MEGAPIXEL, Size

ModelType = Literal["distilled", "standard"]
GuidanceField = Literal["guidance_scale", "true_cfg_scale"]
NegativePromptUse = Literal["unsupported", "optional", "needed_for_guidance"]
OverlongPrompt = Literal["cut", "refused", "unknown"]

FALLBACK: Final = "fallback"
"""The `model` of the profile for models that are not known."""

_Count = Annotated[int, Field(ge=1)]
_Positive = Annotated[float, Field(gt=0)]
_NotNegative = Annotated[float, Field(ge=0)]
_Guidance = Annotated[float, Field(ge=0, le=20)]
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _size(value: object) -> object:
    match value:
        case [int(width), int(height)] if width > 0 and height > 0:
            return Size(width, height)
        case _:
            return value


def _frozen_sizes(sizes: Mapping[str, Size]) -> Mapping[str, Size]:
    return MappingProxyType(dict(sizes))


def _frozen_texts(texts: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(texts))


class CostLaw(BaseModel):
    """How long a picture takes on one NVIDIA H100, in seconds.

    t = fixed + per_megapixel * MP
      + forwards * (step + step_per_megapixel * MP + step_per_megapixel_squared * MP^2)
    where forwards is the number of steps, twice that under guidance, and MP the picture's megapixels.
    No coefficient is negative, so more steps or more pixels never cost less.
    """

    model_config = _STRICT

    fixed_seconds: _NotNegative
    seconds_per_megapixel: _NotNegative
    step_seconds: _NotNegative
    step_seconds_per_megapixel: _Positive
    step_seconds_per_megapixel_squared: _NotNegative

    def seconds(self, *, megapixels: float, forwards: int) -> float:
        """Seconds for one picture of so many megapixels and forward passes of the transformer."""
        step = self.step_seconds + megapixels * (
            self.step_seconds_per_megapixel + megapixels * self.step_seconds_per_megapixel_squared
        )
        return self.fixed_seconds + self.seconds_per_megapixel * megapixels + forwards * step


class Profile(BaseModel):
    """What is known of one model: its right settings, its limits and its cost.

    Attributes:
        model: The Hugging Face id; "fallback" for the profile of models that are not known.
        type: "distilled" models make a picture in a few steps, without guidance.
        default_steps: Denoising steps when the caller asks for none.
        default_guidance_scale: Guidance when the caller asks for none.
        guidance_field: The field of a request that the model's pipeline reads guidance from.
        guidance_off_at: Guidance up to this value runs no second forward pass.
        negative_prompt: Whether the pipeline reads one, and whether guidance works without one.
        default_width: Pixels.
        default_height: Pixels.
        max_resolution_mp: The most megapixels (millions of pixels) a picture may have.
        resolution_multiple: Width and height have to be multiples of this.
        supported_aspect_ratios: The size that is used for each aspect ratio that can be asked for.
        max_prompt_tokens: How much of a prompt the text encoder reads; None when it is not known.
        overlong_prompt: What the server does with a prompt of more tokens.
        max_prompt_characters: A longer prompt is refused before it is sent.
        estimated_vram_gb: GPU memory of the loaded model, in gigabytes; None when it is not known.
        activation_gb_at_1024x1024: GPU memory of one running picture of 1024x1024, in gigabytes.
        cost: The time a picture takes.
        sources: Where each number comes from, by the field's name ("cost" stands for all that is in it).
    """

    model_config = _STRICT

    model: Annotated[str, Field(min_length=1, max_length=200)]
    type: ModelType
    default_steps: Annotated[int, Field(ge=1, le=200)]
    default_guidance_scale: _Guidance
    guidance_field: GuidanceField
    guidance_off_at: _Guidance
    negative_prompt: NegativePromptUse
    default_width: _Count
    default_height: _Count
    max_resolution_mp: _Positive
    resolution_multiple: _Count
    supported_aspect_ratios: Annotated[
        Mapping[str, Annotated[Size, BeforeValidator(_size)]],
        AfterValidator(_frozen_sizes),
        PlainSerializer(dict),
    ]
    max_prompt_tokens: _Count | None = None
    overlong_prompt: OverlongPrompt
    max_prompt_characters: _Count
    estimated_vram_gb: _Positive | None = None
    activation_gb_at_1024x1024: _Positive
    cost: CostLaw
    sources: Annotated[Mapping[str, str], AfterValidator(_frozen_texts), PlainSerializer(dict)]

    @property
    def supports_negative_prompt(self) -> bool:
        """Whether the model's pipeline reads a negative prompt at all."""
        return self.negative_prompt != "unsupported"

    @property
    def known(self) -> bool:
        """Whether this is the profile of one model; False for the fallback."""
        return self.model != FALLBACK

    @property
    def default_size(self) -> Size:
        """The size of a picture when the caller asks for none."""
        return Size(self.default_width, self.default_height)

    @property
    def max_pixels(self) -> int:
        """The most pixels a picture may have."""
        return int(self.max_resolution_mp * PIXELS_PER_MEGAPIXEL)

    def guided(self, guidance_scale: float) -> bool:
        """Whether this guidance runs a second forward pass at each step."""
        return guidance_scale > self.guidance_off_at

    @classmethod
    def from_toml(cls, text: str, *, file: str) -> Self:
        """Read a profile.

        Args:
            text: The TOML document.
            file: Its name, for the message.

        Raises:
            BadProfile: It is no TOML, a key is missing, unknown or out of range, or a number has no source.
        """
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise BadProfile(f"{file} is no TOML: {error}") from error
        except ValidationError as error:
            raise BadProfile(f"{file}: {_first_fault(error)}") from error

    def __deepcopy__(self, memo: dict[int, object] | None = None) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[[str], Self], tuple[str]]:
        """Pickle as JSON: a frozen mapping has no pickle of its own."""
        return type(self).model_validate_json, (self.model_dump_json(exclude_unset=True),)

    @model_validator(mode="after")
    def _every_number_has_a_source(self) -> Self:
        facts = self.model_fields_set - {"model", "type", "sources"}
        unsourced = sorted(facts - {key for key, source in self.sources.items() if source.strip()})
        if unsourced:
            raise ValueError(f"no source is given for {', '.join(unsourced)} in [sources]")
        unknown = sorted(set(self.sources) - facts)
        if unknown:
            raise ValueError(f"[sources] names {', '.join(unknown)}, which the profile does not have")
        return self

    @model_validator(mode="after")
    def _every_size_is_allowed(self) -> Self:
        for name, size in self._sizes():
            if size.width % self.resolution_multiple or size.height % self.resolution_multiple:
                raise ValueError(f"{name} {size} is not made of multiples of {self.resolution_multiple}")
            if size.pixels > self.max_pixels:
                raise ValueError(f"{name} {size} is over {self.max_resolution_mp} megapixels")
        return self

    def _sizes(self) -> Iterator[tuple[str, Size]]:
        yield "the default size", self.default_size
        yield from self.supported_aspect_ratios.items()


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in fault["loc"])
    return f"{key}: {fault['msg']}" if key else fault["msg"]
