"""What a model reads, what it ignores, how it treats a size, and what a picture costs; from models.toml."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from vllm_omni_client.simulator.http.release import Release

SIZE_MULTIPLE = 16
"""Each side of a picture is a multiple of this: 8 of the VAE times patches of 2, for every model here."""
DEFAULT_SIDE = 1024
"""Width and height where a request says no size (vllm-omni 0.30.0)."""
DEFAULT_STEPS = 50
"""The steps where a request says none, whatever the model needs (vllm-omni 0.30.0)."""
_PIXELS_PER_MEGAPIXEL = 1024 * 1024
_STEP_BYTES = 8
_MOST_BYTES = 1024**4  # of memory, on any server
_INT64_LIMIT = 2**63
_FLOAT_LIMIT = 2**1023
_FOUR_DIGITS = 1000
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_UTF8_BYTES_PER_TOKEN = 4  # English prose under the tokenizers of these models: a common rule of thumb


class WorkerError(Exception):
    """The model's worker refused or failed: the server answers 500 with this text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """Classifier-free guidance as the model carries it out."""

    scale: float
    negative_prompt: str


class Ratios(BaseModel):
    """The terms of the cost law, in units of a model's linear term."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    quadratic: float
    start: float
    decode: float


class Family(BaseModel):
    """The rules of one family of models."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    guidance: Literal[
        "guidance_scale_above_one", "guidance_scale_above_zero", "true_cfg_scale_with_negative_prompt"
    ]
    sizes: Literal["floored", "floored_and_raised", "exact"]
    blank_prompt: Literal["fails", "drawn"]
    prompt_tokens: int = Field(ge=1)
    long_prompt: Literal["cut", "fails"]
    batches: bool
    pipeline: str
    input_pictures: int = Field(ge=1)
    """How many an edit may bring."""
    reads_pictures: bool
    needs_pictures: bool = False
    input_side_pixels: int = Field(default=1, ge=1)
    """No side of an input picture may be shorter."""
    input_aspect: int | None = None
    """No side of an input picture may be longer than this many times the other."""
    strength: Literal["unread", "read", "read_with_mask"] = "unread"
    positive_steps: bool = False
    """The pipeline checks the steps of an edit itself."""
    linear_seconds: float = Field(gt=0)
    launch_seconds: float = Field(gt=0)
    resident_gib: float = Field(gt=0)
    activation_gib_per_megapixel: float = Field(gt=0)
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRules:
    """One family's rules, with the cost law's common ratios."""

    family: Family
    ratios: Ratios
    zero_guidance_is_one: bool = False

    def under(self, release: Release) -> "ModelRules":
        """The rules as an older release had them."""
        family = self.family
        if family.guidance == "guidance_scale_above_zero":
            family = family.model_copy(update={"guidance": release.z_image_guidance})
        if family.pipeline in release.single_input_pipelines:
            family = family.model_copy(update={"input_pictures": 1})
        return replace(self, family=family, zero_guidance_is_one=release.zero_guidance_is_one)

    @property
    def reads_true_cfg_scale(self) -> bool:
        """Whether `true_cfg_scale` means anything to the model."""
        return self.family.guidance == "true_cfg_scale_with_negative_prompt"

    def check_edit(self, *, steps: int, strength: float | None, edits: bool) -> None:
        """The pipeline's own checks of what the form of an edit leaves open.

        Raises:
            WorkerError: A number is out of its range, or there is no picture to edit.
        """
        if self.family.needs_pictures and not edits:
            raise WorkerError("Received no input image. This model requires one input image to run.")
        if (
            edits
            and self.family.strength != "unread"
            and strength is not None
            and (strength < 0 or strength > 1)
        ):
            raise WorkerError(
                f"strength must be between 0 and 1, got {strength}"
                if self.family.strength == "read_with_mask"
                else f"The value of strength should be in [0.0, 1.0] but is {strength}"
            )
        if self.family.positive_steps and steps <= 0:
            raise WorkerError(f"num_inference_steps must be positive, got {steps}")
        if steps < 0:
            raise WorkerError(f"Number of samples, {steps}, must be non-negative.")
        check_steps(steps)

    def check_input(self, width: int, height: int) -> None:
        """Whether the model takes an input picture of this size in pixels.

        Raises:
            WorkerError: It is too small or too narrow.
        """
        least, most = self.family.input_side_pixels, self.family.input_aspect
        if min(width, height) < least:
            raise WorkerError(
                f"Image too small: {width}x{height}. Both dimensions must be at least {least}px"
            )
        aspect = max(width / height, height / width)
        if most is not None and aspect > most:
            raise WorkerError(
                f"Aspect ratio too extreme: {width}x{height} (ratio: {aspect:.1f}:1). "
                f"Maximum allowed ratio is {most}:1"
            )

    def check_reference(self, width: int, height: int) -> None:
        """Whether a reference picture of this size in pixels is left with any, rounded down.

        Raises:
            WorkerError: It is not.
        """
        if min(width, height) < SIZE_MULTIPLE:
            raise WorkerError("height and width must be > 0")

    def check_mask(self, pictures: Sequence[tuple[int, int]], size: tuple[int, int]) -> None:
        """Whether a mask fits: the pipeline lays it over one input picture, of the size that is made.

        Args:
            pictures: Width and height of each input picture in pixels.
            size: Width and height of what is made.

        Raises:
            WorkerError: It does not.
        """
        if self.family.strength != "read_with_mask":
            return
        given = [(width // SIZE_MULTIPLE, height // SIZE_MULTIPLE) for width, height in pictures]
        made = size[0] // SIZE_MULTIPLE, size[1] // SIZE_MULTIPLE
        for side, dimension in ((0, 3), (1, 2)):
            if given[0][side] != made[side]:
                raise _mismatch(given[0][side] * SIZE_MULTIPLE, size[side], dimension)
        if len(given) > 1:
            raise _mismatch(math.prod(made), sum(map(math.prod, given)), 1)

    def strength(self, strength: float | None, *, steps: int, guided: bool) -> float:
        """How far an edit may go from its picture, 0 to 1.

        Args:
            strength: What was asked for.
            steps: The denoising steps.
            guided: A mask or a reference picture came with it.

        Raises:
            WorkerError: No step would be left.
        """
        reads = self.family.strength == "read" or (self.family.strength == "read_with_mask" and guided)
        if not reads:
            return 1.0
        default = 0.6 if self.family.strength == "read" else 1.0
        strength = default if strength is None else strength
        left = steps - int(max(steps - min(steps * strength, steps), 0))
        if left < 1:
            noun = "pipeline steps" if self.family.strength == "read" else "pipelinesteps"
            raise WorkerError(
                f"After adjusting the num_inference_steps by strength parameter: {strength}, "
                f"the number of {noun} is {left} which is < 1 and not appropriate for this pipeline."
            )
        return strength

    def guidance(
        self,
        *,
        guidance_scale: float | None,
        true_cfg_scale: float | None,
        negative_prompt: str | None,
    ) -> Guidance | None:
        """The guidance that this model derives from a request; None where it runs without."""
        if guidance_scale == 0 and self.zero_guidance_is_one:
            guidance_scale = None
        match self.family.guidance:
            case "guidance_scale_above_one":
                scale = 1.0 if guidance_scale is None else guidance_scale
                return Guidance(scale=scale, negative_prompt="") if scale > 1 else None
            case "guidance_scale_above_zero":
                scale = 1.0 if guidance_scale is None else guidance_scale
                return Guidance(scale=scale, negative_prompt=negative_prompt or "") if scale > 0 else None
            case "true_cfg_scale_with_negative_prompt":
                scale = true_cfg_scale or 4.0  # the pipeline's own default, also for 0
                if negative_prompt is None or scale <= 1:
                    return None
                return Guidance(scale=scale, negative_prompt=negative_prompt)

    def size(self, width: int | None, height: int | None) -> tuple[int, int]:
        """The size in pixels that comes back for a requested one.

        Raises:
            WorkerError: The model cannot make this size.
        """
        width = DEFAULT_SIDE if width is None else width
        height = DEFAULT_SIDE if height is None else height
        if self.family.sizes == "exact":
            for side, value in (("Height", height), ("Width", width)):
                _check_divisible(side, value)
        floored = (width // SIZE_MULTIPLE * SIZE_MULTIPLE, height // SIZE_MULTIPLE * SIZE_MULTIPLE)
        if self.family.sizes == "floored_and_raised":
            return max(floored[0], SIZE_MULTIPLE), max(floored[1], SIZE_MULTIPLE)
        if 0 in floored:
            raise WorkerError(
                "max(): Expected reduction dim to be specified for input.numel() == 0. "
                "Specify the reduction dim with the 'dim' argument."
            )
        return floored

    def check_negative_prompt(self, prompt: str) -> None:
        """Whether the model can read a negative prompt, where it is read at all.

        Raises:
            WorkerError: It is too long or no text, for a model that minds.
        """
        self._read(prompt, "negative_prompt")

    def prompt(self, prompt: str) -> str:
        """The part of a prompt that the model reads.

        Raises:
            WorkerError: The prompt is blank, too long or no text, for a model that minds.
        """
        if self.family.blank_prompt == "fails" and not prompt.strip():
            raise WorkerError("`prompt` cannot be empty or whitespace-only.")
        return self._read(prompt, "prompt")

    def _read(self, prompt: str, name: str) -> str:
        text = _encode(prompt)
        limit = self.family.prompt_tokens
        tokens = math.ceil(len(text) / _UTF8_BYTES_PER_TOKEN)
        if tokens > limit and self.family.long_prompt == "fails":
            raise WorkerError(
                f"`{name}` is too long after applying the Qwen prompt template: got {tokens} tokens, "
                f"but `max_sequence_length` is {limit}. Shorten the prompt or increase `max_sequence_length` "
                f"up to {limit}."
            )
        return text[: limit * _UTF8_BYTES_PER_TOKEN].decode(errors="ignore")

    def seconds(self, *, pixels: int, steps: int, guided: bool, n: int) -> float:
        """The time of one request of `n` pictures on one H100."""
        megapixels = pixels / _PIXELS_PER_MEGAPIXEL
        linear = self.family.linear_seconds
        step = self.family.launch_seconds + linear * (megapixels + self.ratios.quadratic * megapixels**2)
        picture = linear * self.ratios.decode * megapixels + steps * (2 if guided else 1) * step
        return linear * self.ratios.start + n * picture

    def gib(self, *, pixels: int) -> float:
        """The GPU memory in GiB with pictures of this many pixels in all in the making."""
        return self.family.resident_gib + self.activation_gib(pixels=pixels)

    def activation_gib(self, *, pixels: int) -> float:
        """What the making of pictures of this many pixels in all adds to the loaded model, in GiB."""
        return self.family.activation_gib_per_megapixel * pixels / _PIXELS_PER_MEGAPIXEL


class _Catalogue(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    ratios: Ratios
    family: tuple[Family, ...]


def rules_for(model: str) -> ModelRules:
    """The rules for a model, found by the last part of its Hugging Face id or path."""
    text = files("vllm_omni_client.simulator").joinpath("models.toml").read_text(encoding="utf-8")
    catalogue = _Catalogue.model_validate(tomllib.loads(text))
    name = model.rstrip("/\\").replace("\\", "/").rpartition("/")[2].lower()
    named = (family for family in catalogue.family if any(part in name for part in family.names))
    return ModelRules(family=next(named, catalogue.family[-1]), ratios=catalogue.ratios)


def _mismatch(first: int, second: int, dimension: int) -> WorkerError:
    return WorkerError(
        f"The size of tensor a ({first}) must match the size of tensor b ({second}) "
        f"at non-singleton dimension {dimension}"
    )


def check_steps(steps: int) -> None:
    """Whether NumPy can lay out so many steps: no pipeline looks at them before.

    Raises:
        WorkerError: In NumPy's words.
    """
    if steps * _STEP_BYTES <= _MOST_BYTES:
        return
    rounded = float(steps) if steps < _FLOAT_LIMIT else math.inf  # as NumPy counts
    if rounded > _INT64_LIMIT:
        raise WorkerError("Maximum allowed size exceeded")
    if rounded == _INT64_LIMIT:
        raise WorkerError("index -1 is out of bounds for axis 0 with size 0")
    if steps * _STEP_BYTES >= _INT64_LIMIT:
        raise WorkerError(
            "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size."
        )
    power = ((steps * _STEP_BYTES).bit_length() - 1) // 10
    size = steps * _STEP_BYTES / 1024**power
    shown = f"{size:#.3g}" if round(size) < _FOUR_DIGITS else f"{size:#.0f}"
    raise WorkerError(
        f"Unable to allocate {shown} {_UNITS[power]} for an array with shape ({steps},) and data type float64"
    )


def _check_divisible(side: str, value: int) -> None:
    if value % SIZE_MULTIPLE:
        raise WorkerError(
            f"{side} must be divisible by {SIZE_MULTIPLE} (got {value}). "
            f"Please adjust the {side.lower()} to a multiple of {SIZE_MULTIPLE}."
        )


def _encode(prompt: str) -> bytes:
    try:
        return prompt.encode()
    except UnicodeEncodeError as error:  # a lone surrogate: the tokenizer refuses it in these words
        raise WorkerError(
            "TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]"
        ) from error
