"""Define a model profile: a model's default settings, limits and cost, with a source for each number."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from vllm_omni_client.capabilities import numbers_of

from vllm_image_core.imaging.size import PIXELS_PER_MEGAPIXEL, Size, aspect_ratio
from vllm_image_core.models.quality import Quality
from vllm_image_core.models.settings import NO_RULES, STRICT, EditRules, Preset, as_tuple

Key = TypeVar("Key")
Value = TypeVar("Value")
ModelType = Literal["distilled", "standard"]
GuidanceField = Literal[
    "guidance_scale", "true_cfg_scale", "extra_params.cfg_scale", "extra_params.cfg_text_scale"
]
"""Where a pipeline reads guidance from; "extra_params.NAME" is an entry of that object."""
NegativePromptUse = Literal["unsupported", "optional", "needed_for_guidance"]
OverlongPrompt = Literal["cut", "refused", "unknown"]
SizeRule = Literal["floor", "error", "round_up", "nearest", "stretched", "listed", "unknown"]
"""What the server does with a size that is not a multiple of `resolution_multiple`.

"floor", "round_up" and "nearest" round each side; "error" fails; "stretched" generates a size that is a
multiple and stretches the image; "listed" generates only the sizes of `supported_aspect_ratios` and changes
all others; "unknown" is not known.
"""
PresetName = Literal["draft", "best"]

MOST_OFF_SHAPE: Final = 0.03
"""How far a size may be from the aspect ratio it is used for, as a fraction."""

FALLBACK: Final = "fallback"
"""The `model` of the profile for unknown models."""

_Count = Annotated[int, Field(ge=1)]
_Positive = Annotated[float, Field(gt=0)]
_NotNegative = Annotated[float, Field(ge=0)]
_Guidance = Annotated[float, Field(ge=0, le=20)]
_UNSOURCED: Final = frozenset({"model", "aliases", "type", "loras", "sources"})


def _size(value: object) -> object:
    match value:
        case [int(width), int(height)] if width > 0 and height > 0:
            return Size(width, height)
        case _:
            return value


def _freeze(mapping: Mapping[Key, Value]) -> Mapping[Key, Value]:
    return MappingProxyType(dict(mapping))


def _no_presets() -> Mapping[PresetName, Preset]:
    return MappingProxyType({})


def _no_loras() -> Mapping[str, str]:
    return MappingProxyType({})


_Name = Annotated[str, Field(min_length=1, max_length=1_000)]
_Names = Annotated[tuple[_Name, ...], BeforeValidator(as_tuple)]


class CostLaw(BaseModel):
    """How long an image takes on one NVIDIA H100, in seconds.

    t = fixed + per_megapixel * MP
      + forwards * (step + step_per_megapixel * MP + step_per_megapixel_squared * MP^2)
    where forwards is the number of steps, or twice that with guidance, and MP is the image's megapixels.
    No coefficient is negative, so more steps or more pixels never cost less.
    """

    model_config: ClassVar[ConfigDict] = STRICT

    fixed_seconds: _NotNegative
    seconds_per_megapixel: _NotNegative
    step_seconds: _NotNegative
    step_seconds_per_megapixel: _Positive
    step_seconds_per_megapixel_squared: _NotNegative

    def seconds(self, *, megapixels: float, forwards: int) -> float:
        """Return the seconds for one image of this size and number of forward passes of the transformer."""
        step = self.step_seconds + megapixels * (
            self.step_seconds_per_megapixel + megapixels * self.step_seconds_per_megapixel_squared
        )
        return self.fixed_seconds + self.seconds_per_megapixel * megapixels + forwards * step


class OlderServers(BaseModel):
    """Values that replace the profile's on servers of some older releases.

    Attributes:
        since: The first of these releases of vLLM-Omni, as "0.20".
        before: The first release after them.
        max_input_images: How many images an edit can take on these releases.
    """

    model_config: ClassVar[ConfigDict] = STRICT

    since: Annotated[str, Field(pattern=r"^\d{1,4}\.\d{1,4}$")]
    before: Annotated[str, Field(pattern=r"^\d{1,4}\.\d{1,4}$")]
    max_input_images: Annotated[int, Field(ge=0, le=100)]

    def __str__(self) -> str:
        images = "1 input image" if self.max_input_images == 1 else f"{self.max_input_images} input images"
        return f"{self.since} to before {self.before}: {images}"

    def covers(self, version: str | None) -> bool:
        """Whether a version is one of these releases; False if it does not name a release."""
        numbers, since, before = numbers_of(version), numbers_of(self.since), numbers_of(self.before)
        if numbers is None or since is None or before is None:
            return False
        return since <= numbers < before


class Profile(BaseModel):
    """One model's recommended settings, limits and cost.

    Attributes:
        model: The Hugging Face id; "fallback" for the profile of unknown models.
        aliases: Other names or paths of the same model.
        type: "distilled" models generate an image in a few steps, without guidance.
        default_steps: Denoising steps if the caller gives none.
        default_guidance_scale: Guidance if the caller gives none.
        guidance_field: The request field from which the model's pipeline reads guidance.
        guidance_off_at: Guidance up to this value runs no second forward pass; 20 if there never is one.
        guidance_fixed: True if the pipeline fails with any value but `default_guidance_scale`; None if not.
        negative_prompt: Whether the pipeline reads one, and whether guidance works without one.
        default_width: Pixels.
        default_height: Pixels.
        max_resolution_mp: The most megapixels (millions of pixels) an image may have.
        max_side: The most pixels each side may have; None if only `max_resolution_mp` limits it.
        resolution_multiple: Width and height must be multiples of this.
        size_rule: What the server does with other sizes.
        supported_aspect_ratios: The size to use for each supported aspect ratio.
        quality: What "draft" and "best" change, if the model has such a trade-off.
        text_to_image: Whether the model can generate an image from text alone.
        max_input_images: How many input images an edit can take; 0 if the model does not edit.
        older_servers: What differs on older server releases; None if nothing does.
        edit: What edits accept besides the images; None if nothing.
        max_prompt_tokens: How many tokens of a prompt the text encoder reads; None if unknown.
        overlong_prompt: What the server does with a prompt of more tokens.
        max_prompt_characters: A longer prompt is refused before it is sent.
        estimated_vram_gb: GPU memory of the loaded model, in gigabytes; None if unknown.
        activation_gb_at_1024x1024: GPU memory that one 1024x1024 image needs while it runs, in gigabytes.
        cost: How long an image takes.
        prompting: How to write prompts for this model, in two or three sentences.
        loras: The paths of LoRA adapters on the server, by the names under which requests may ask for them.
        licence: What the model's licence restricts; None if it permits any use by anybody.
        sources: Where each number comes from, by field name ("cost" stands for all of its values).
    """

    model_config: ClassVar[ConfigDict] = STRICT

    model: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\P{C}*[^\p{C}\s]\P{C}*$")]
    aliases: _Names = ()
    type: ModelType
    default_steps: Annotated[int, Field(ge=1, le=200)]
    default_guidance_scale: _Guidance
    guidance_field: GuidanceField
    guidance_off_at: _Guidance
    guidance_fixed: bool | None = None
    negative_prompt: NegativePromptUse
    default_width: _Count
    default_height: _Count
    max_resolution_mp: _Positive
    max_side: _Count | None = None
    resolution_multiple: _Count
    size_rule: SizeRule
    supported_aspect_ratios: Annotated[
        Mapping[str, Annotated[Size, BeforeValidator(_size)]],
        AfterValidator(_freeze),
        PlainSerializer(dict),
    ]
    quality: Annotated[Mapping[PresetName, Preset], AfterValidator(_freeze), PlainSerializer(dict)] = Field(
        default_factory=_no_presets
    )
    text_to_image: bool
    max_input_images: Annotated[int, Field(ge=0, le=100)]
    older_servers: OlderServers | None = None
    edit: EditRules | None = None
    max_prompt_tokens: _Count | None = None
    overlong_prompt: OverlongPrompt
    max_prompt_characters: _Count
    estimated_vram_gb: _Positive | None = None
    activation_gb_at_1024x1024: _Positive
    cost: CostLaw
    prompting: Annotated[str, Field(min_length=1, max_length=800)] | None = None
    loras: Annotated[Mapping[_Name, _Name], AfterValidator(_freeze), PlainSerializer(dict)] = Field(
        default_factory=_no_loras
    )
    licence: Annotated[str, Field(min_length=1, max_length=800)] | None = None
    sources: Annotated[Mapping[str, str], AfterValidator(_freeze), PlainSerializer(dict)]

    def for_version(self, version: str | None) -> Self:
        """Return the profile for a server of this version; the same object if nothing differs."""
        older = self.older_servers
        if older is None or not older.covers(version):
            return self
        return self.model_copy(update={"max_input_images": older.max_input_images})

    @property
    def supports_negative_prompt(self) -> bool:
        """Whether the model's pipeline reads a negative prompt at all."""
        return self.negative_prompt != "unsupported"

    @property
    def edit_rules(self) -> EditRules:
        """What the model's edits accept besides the images."""
        return self.edit or NO_RULES

    @property
    def is_known(self) -> bool:
        """Whether this is the profile of a known model; False for the fallback."""
        return self.model != FALLBACK

    @property
    def default_size(self) -> Size:
        """The size of an image if the caller gives none."""
        return Size(self.default_width, self.default_height)

    @property
    def max_pixels(self) -> int:
        """The most pixels an image may have."""
        return int(self.max_resolution_mp * PIXELS_PER_MEGAPIXEL)

    def is_guided(self, guidance_scale: float) -> bool:
        """Whether this guidance runs a second forward pass at each step."""
        return guidance_scale > self.guidance_off_at

    def preset(self, quality: Quality) -> Preset | None:
        """Return what a quality changes; None if it is the same as "standard", the profile's own values."""
        return None if quality == "standard" else self.quality.get(quality)

    def __deepcopy__(self, memo: dict[int, object] | None = None) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[[str], Self], tuple[str]]:
        """Pickle as JSON, since a read-only mapping cannot be pickled."""
        return type(self).model_validate_json, (self.model_dump_json(exclude_unset=True),)

    @model_validator(mode="after")
    def _every_number_has_a_source(self) -> Self:
        facts = self.model_fields_set - _UNSOURCED
        unsourced = sorted(facts - {key for key, source in self.sources.items() if source.strip()})
        if unsourced:
            raise ValueError(f"[sources] has no source for {', '.join(unsourced)}")
        unknown = sorted(set(self.sources) - facts)
        if unknown:
            raise ValueError(
                f"[sources] names {', '.join(unknown)}, which the profile does not have; it can name "
                f"{', '.join(sorted(facts))}"
            )
        return self

    @model_validator(mode="after")
    def _every_size_is_allowed(self) -> Self:
        listed = self.supported_aspect_ratios.values()
        for key, size in self._sizes():
            if size.width % self.resolution_multiple or size.height % self.resolution_multiple:
                raise ValueError(
                    f"{key}: {size} is not valid; both sides must be multiples of "
                    f"{self.resolution_multiple} (resolution_multiple)"
                )
            if size.pixels > self.max_pixels:
                raise ValueError(
                    f"{key}: {size} is not valid; the limit is {self.max_resolution_mp:g} megapixels "
                    "(max_resolution_mp)"
                )
            if self.max_side is not None and max(size.width, size.height) > self.max_side:
                raise ValueError(
                    f"{key}: {size} is not valid; the limit is {self.max_side} pixels a side (max_side)"
                )
            if self.size_rule == "listed" and size not in listed:
                raise ValueError(
                    f"{key}: {size} is not valid; with this size_rule it must be a size of "
                    "supported_aspect_ratios"
                )
        return self

    @model_validator(mode="after")
    def _every_aspect_ratio_matches_its_size(self) -> Self:
        for name, size in self.supported_aspect_ratios.items():
            ratio = aspect_ratio(name)
            if ratio is None:
                raise ValueError(
                    f"supported_aspect_ratios: {name!r} is not a ratio; use names such as '16:9'"
                )
            if abs(size.aspect / ratio - 1) > MOST_OFF_SHAPE:
                raise ValueError(
                    f"supported_aspect_ratios.{name}: {size} does not match this ratio; it may differ by at "
                    f"most {MOST_OFF_SHAPE:.0%}"
                )
        return self

    def _sizes(self) -> Iterator[tuple[str, Size]]:
        """Each size in the profile, with the keys that set it."""
        yield "default_width, default_height", self.default_size
        for quality, preset in self.quality.items():
            if preset.size:
                yield f"quality.{quality}", preset.size
        for name, size in self.supported_aspect_ratios.items():
            yield f"supported_aspect_ratios.{name}", size
