"""Apply each model's rules from models.toml: fields it reads, sizes, limits, and cost in time and memory."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from vllm_omni_client.simulator.http.release import Release

SIZE_MULTIPLE = 16
"""Each side of an image is a multiple of this: the VAE's 8 times patches of 2, for every model here."""
DEFAULT_SIDE = 1024
"""Width and height if a request gives no size (vllm-omni 0.30.0)."""
DEFAULT_STEPS = 50
"""Steps if a request gives none, whatever the model needs (vllm-omni 0.30.0)."""
_PIXELS_PER_MEGAPIXEL = 1024 * 1024
_STEP_BYTES = 8
_MOST_BYTES = 1024**4  # memory of any server
_INT64_LIMIT = 2**63
_FLOAT_LIMIT = 2**1023
_FOUR_DIGITS = 1000
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_UTF8_BYTES_PER_TOKEN = 4  # English prose under the tokenizers of these models: a common rule of thumb


class WorkerError(Exception):
    """The model's worker refused the request or failed; the server answers 500 with this message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidanceRule:
    """Classifier-free guidance as the model applies it."""

    scale: float
    negative_prompt: str


class Ratios(BaseModel):
    """The terms of the cost model, in units of a model's linear term."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    quadratic: float
    start: float
    decode: float


class ModelFamily(BaseModel):
    """The rules of one model family."""

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
    """How many input images an edit may have."""
    reads_pictures: bool
    needs_pictures: bool = False
    layers: int | None = None
    """Layers into which the model splits an image if a request does not say; None: it makes no layers."""
    input_side_pixels: int = Field(default=1, ge=1)
    """Minimum length of an input image's sides, in pixels."""
    input_aspect: int | None = None
    """Maximum ratio of an input image's longer side to its shorter one; None: no limit."""
    strength: Literal["unread", "read", "read_with_mask"] = "unread"
    positive_steps: bool = False
    """Whether the pipeline itself refuses 0 or fewer steps."""
    linear_seconds: float = Field(gt=0)
    launch_seconds: float = Field(gt=0)
    resident_gib: float = Field(gt=0)
    activation_gib_per_megapixel: float = Field(gt=0)
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRules:
    """One family's rules, with the ratios of the cost model that all families share."""

    family: ModelFamily
    ratios: Ratios
    zero_guidance_is_one: bool = False

    def for_release(self, release: Release) -> "ModelRules":
        """Return the rules as they were in an older release."""
        family = self.family
        if family.guidance == "guidance_scale_above_zero":
            family = family.model_copy(update={"guidance": release.z_image_guidance})
        if family.pipeline in release.single_input_pipelines:
            family = family.model_copy(update={"input_pictures": 1})
        return replace(self, family=family, zero_guidance_is_one=release.zero_guidance_is_one)

    @property
    def reads_true_cfg_scale(self) -> bool:
        """Whether the model uses `true_cfg_scale`."""
        return self.family.guidance == "true_cfg_scale_with_negative_prompt"

    def check_edit(self, *, steps: int, strength: float | None, edits: bool) -> None:
        """Check what the pipeline itself checks, because the edit form sets no limits for it.

        Raises:
            WorkerError: A number is out of range, or there is no image to edit.
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

    def check_input(self, width: int, height: int) -> None:
        """Check that the model accepts an input image of this size in pixels.

        Raises:
            WorkerError: The image is too small or too narrow.
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
        """Check that a reference image of this size in pixels does not round down to 0.

        Raises:
            WorkerError: It does.
        """
        if min(width, height) < SIZE_MULTIPLE:
            raise WorkerError("height and width must be > 0")

    def check_mask(self, pictures: Sequence[tuple[int, int]], size: tuple[int, int]) -> None:
        """Check that a mask fits: the pipeline applies it to a single input image of the output's size.

        Args:
            pictures: Width and height of each input image in pixels.
            size: Width and height of the output in pixels.

        Raises:
            WorkerError: It does not fit.
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
        """Return how far an edit may depart from its input image, 0 to 1.

        Args:
            strength: The requested strength; None if the request has none.
            steps: The denoising steps.
            guided: Whether the request has a mask or a reference image.

        Raises:
            WorkerError: No steps would be left to run.
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
    ) -> GuidanceRule | None:
        """Return the guidance that the model derives from a request; None if it runs without guidance."""
        if guidance_scale == 0 and self.zero_guidance_is_one:
            guidance_scale = None
        match self.family.guidance:
            case "guidance_scale_above_one":
                scale = 1.0 if guidance_scale is None else guidance_scale
                return GuidanceRule(scale=scale, negative_prompt="") if scale > 1 else None
            case "guidance_scale_above_zero":
                scale = 1.0 if guidance_scale is None else guidance_scale
                return GuidanceRule(scale=scale, negative_prompt=negative_prompt or "") if scale > 0 else None
            case "true_cfg_scale_with_negative_prompt":
                scale = true_cfg_scale or 4.0  # the pipeline's own default, used for 0 too
                if negative_prompt is None or scale <= 1:
                    return None
                return GuidanceRule(scale=scale, negative_prompt=negative_prompt)

    def size(self, width: int | None, height: int | None) -> tuple[int, int]:
        """Return the size in pixels that the model generates for a requested size.

        Raises:
            WorkerError: The model cannot generate this size.
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
        """Check that the model can read a negative prompt.

        Raises:
            WorkerError: The prompt is not valid text, or it is too long for a model that checks the length.
        """
        self._read(prompt, "negative_prompt")

    def prompt(self, prompt: str) -> str:
        """Return the part of a prompt that the model reads.

        Raises:
            WorkerError: The prompt is not valid text, or it is blank or too long for a model that checks.
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
        """Return the time (s) that one request for `n` images takes on one H100."""
        megapixels = pixels / _PIXELS_PER_MEGAPIXEL
        linear = self.family.linear_seconds
        step = self.family.launch_seconds + linear * (megapixels + self.ratios.quadratic * megapixels**2)
        picture = linear * self.ratios.decode * megapixels + steps * (2 if guided else 1) * step
        return linear * self.ratios.start + n * picture

    def gib(self, *, pixels: int) -> float:
        """Return the GPU memory (GiB) in use while images with this many pixels in total are generated."""
        return self.family.resident_gib + self.activation_gib(pixels=pixels)

    def activation_gib(self, *, pixels: int) -> float:
        """Return the memory (GiB) that generating this many pixels needs on top of the loaded model."""
        return self.family.activation_gib_per_megapixel * pixels / _PIXELS_PER_MEGAPIXEL


class _Catalogue(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    ratios: Ratios
    family: tuple[ModelFamily, ...]


def rules_for(model: str) -> ModelRules:
    """Look up the rules for a model by the last part of its Hugging Face id or path."""
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
    """Check that NumPy can allocate an array of this many steps, as a pipeline does after all its own checks.

    Raises:
        WorkerError: It cannot; the message is NumPy's.
    """
    if steps < 0:
        raise WorkerError(f"Number of samples, {steps}, must be non-negative.")
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
    except UnicodeEncodeError as error:  # a lone surrogate: the tokenizer refuses it with this message
        raise WorkerError(
            "TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]"
        ) from error
