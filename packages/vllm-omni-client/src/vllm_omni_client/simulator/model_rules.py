"""What a model reads, what it ignores, how it treats a size, and what a picture costs; from models.toml."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SIZE_MULTIPLE = 16
"""Each side of a picture is a multiple of this: 8 of the VAE times patches of 2, for every model here."""
DEFAULT_SIDE = 1024
"""Width and height where a request says no size (vllm-omni 0.30.0)."""
DEFAULT_STEPS = 50
"""The steps where a request says none, whatever the model needs (vllm-omni 0.30.0)."""
_DEVICES = (
    *("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla"),
    *("lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone"),
)  # PyTorch 2.13
_PIXELS_PER_MEGAPIXEL = 1024 * 1024
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

    model_config = ConfigDict(frozen=True, extra="forbid")

    quadratic: float
    start: float
    decode: float


class Family(BaseModel):
    """The rules of one family of models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    def guidance(
        self,
        *,
        guidance_scale: float | None,
        true_cfg_scale: float | None,
        negative_prompt: str | None,
    ) -> Guidance | None:
        """The guidance that this model derives from a request; None where it runs without."""
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

    def prompt(self, prompt: str) -> str:
        """The part of a prompt that the model reads.

        Raises:
            WorkerError: The prompt is blank, too long or no text, for a model that minds.
        """
        if self.family.blank_prompt == "fails" and not prompt.strip():
            raise WorkerError("`prompt` cannot be empty or whitespace-only.")
        text = _encoded(prompt)
        limit = self.family.prompt_tokens
        tokens = math.ceil(len(text) / _UTF8_BYTES_PER_TOKEN)
        if tokens > limit and self.family.long_prompt == "fails":
            raise WorkerError(
                f"`prompt` is too long after applying the Qwen prompt template: got {tokens} tokens, "
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
    model_config = ConfigDict(frozen=True, extra="forbid")

    ratios: Ratios
    family: tuple[Family, ...]


def rules_for(model: str) -> ModelRules:
    """The rules for a model, found by the last part of its Hugging Face id or path."""
    text = files("vllm_omni_client.simulator").joinpath("models.toml").read_text(encoding="utf-8")
    catalogue = _Catalogue.model_validate(tomllib.loads(text))
    name = model.rstrip("/\\").replace("\\", "/").rpartition("/")[2].lower()
    named = (family for family in catalogue.family if any(part in name for part in family.names))
    return ModelRules(family=next(named, catalogue.family[-1]), ratios=catalogue.ratios)


def check_device(device: str) -> None:
    """Whether PyTorch knows a device by this name, such as "cpu" or "cuda:0".

    Raises:
        WorkerError: It does not.
    """
    kind = device.partition(":")[0]
    if kind not in _DEVICES:
        known = ", ".join(_DEVICES)
        raise WorkerError(f"Expected one of {known} device type at start of device string: {kind}")


def _check_divisible(side: str, value: int) -> None:
    if value % SIZE_MULTIPLE:
        raise WorkerError(
            f"{side} must be divisible by {SIZE_MULTIPLE} (got {value}). "
            f"Please adjust the {side.lower()} to a multiple of {SIZE_MULTIPLE}."
        )


def _encoded(prompt: str) -> bytes:
    try:
        return prompt.encode()
    except UnicodeEncodeError as error:  # a lone surrogate: the tokenizer refuses it in these words
        raise WorkerError(
            "TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]"
        ) from error
