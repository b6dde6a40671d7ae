"""Define a profile's edit rules (what edits accept besides images and prompt) and quality presets."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from vllm_image_core.imaging.size import Size

StrengthUse = Literal["unread", "read", "with_mask_or_reference"]
"""When the pipeline reads a strength: never, always, or only with a mask or a reference image."""

Resolution = Literal[640, 1024]
"""What the server accepts (source: vLLM-Omni 0.30.0, `entrypoints/openai/api_server.py`, `edit_images`)."""


STRICT: Final = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def as_tuple(value: object) -> object:
    """Return a list as a tuple, and anything else as it is."""
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


class EditRules(BaseModel):
    """What a model accepts for an edit; a profile has these if edits take more than images.

    Attributes:
        mask: Whether an edit may have a mask; only its white parts are repainted.
        masked_pixels: The server reduces an image to at most this many pixels before it lays a mask over it;
            None for a model that keeps any size.
        soft_mask: Whether the model reads shades of grey in a mask, not only black and white.
        reference_image: Whether an edit may have a separate reference image.
        strength: When the model reads a strength, from 0 to 1.
        default_strength: The strength to send if the caller gives none; None if the model does not read one.
        default_layers: How many layers the model splits an image into; None for a model without layers.
        resolutions: For a model that takes the size from the input's shape: sides of the square that has as
            many pixels as the result; the first is the default. Empty for a model that generates any size.
        size_follows_up_to: Pixels; the result has the size of the first image, whatever size is requested,
            and no side longer than this. None for a model that generates any size.
        min_input_side: Pixels; an input with a shorter side is refused.
        max_input_aspect: An input's longer side may be this many times the shorter one; None for no limit.
    """

    model_config: ClassVar[ConfigDict] = STRICT

    mask: bool = False
    masked_pixels: Annotated[int, Field(ge=1)] | None = None
    soft_mask: bool = False
    reference_image: bool = False
    strength: StrengthUse = "unread"
    default_strength: Annotated[float, Field(ge=0, le=1)] | None = None
    default_layers: Annotated[int, Field(ge=2, le=10)] | None = None
    resolutions: Annotated[tuple[Resolution, ...], BeforeValidator(as_tuple)] = ()
    size_follows_up_to: Annotated[int, Field(ge=1)] | None = None
    min_input_side: Annotated[int, Field(ge=1)] = 1
    max_input_aspect: Annotated[float, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _a_strength_that_is_read_has_a_default(self) -> Self:
        if (self.strength == "unread") != (self.default_strength is None):
            raise ValueError("default_strength is needed if strength is not 'unread', and only then")
        return self

    def __str__(self) -> str:
        return ", ".join(self._descriptions()) or "images only"

    def _descriptions(self) -> Iterator[str]:
        if self.mask:
            yield "a mask"
        if self.reference_image:
            yield "a reference image"
        if self.default_strength is not None:
            where = " with either of these" if self.strength == "with_mask_or_reference" else ""
            yield f"a strength{where} (default {self.default_strength:g})"
        if self.default_layers is not None:
            yield f"2 to 10 layers (default {self.default_layers})"
        if self.resolutions:
            yield f"a resolution of {' or '.join(map(str, self.resolutions))}"
        if self.size_follows_up_to is not None:
            yield "no size: the result keeps the input image's size"
        if self.min_input_side > 1:
            yield f"inputs of at least {self.min_input_side} pixels a side"
        if self.max_input_aspect is not None:
            yield f"inputs up to {self.max_input_aspect:g}:1"


NO_RULES: Final = EditRules()
"""The rules of a model whose edits take only images and the prompt."""


class Preset(BaseModel):
    """Settings of one quality; None keeps the profile's own. Values from the caller override all of them.

    Attributes:
        num_inference_steps: Denoising steps.
        guidance_scale: In the caller's terms.
        width: Pixels, used if the caller gives no size; needs a height.
        height: Pixels, used if the caller gives no size; needs a width.
    """

    model_config: ClassVar[ConfigDict] = STRICT

    num_inference_steps: Annotated[int, Field(ge=1, le=200)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=20)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    height: Annotated[int, Field(ge=1)] | None = None

    @property
    def size(self) -> Size | None:
        """Width and height, if the preset has them."""
        return Size(self.width, self.height) if self.width and self.height else None

    @model_validator(mode="after")
    def _both_sides_or_none(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("a preset must have both width and height, or neither")
        return self
