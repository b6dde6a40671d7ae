"""Edit rules: what a model's edits read beside the pictures and the prompt."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal, Self, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from vllm_image_core.imaging.size import Size

__all__ = [
    "NO_RULES",
    "EditRules",
    "Resolution",
    "StrengthUse",
]


StrengthUse = Literal["unread", "read", "with_mask_or_reference"]
"""Whether the pipeline reads a strength: never, always, or only beside a mask or a reference picture."""

Resolution = Literal[640, 1024]
"""What the server takes (source: vLLM-Omni 0.30.0, `entrypoints/openai/api_server.py`, `edit_images`)."""


def _tuple(value: object) -> object:
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


class EditRules(BaseModel):
    """What a model takes for an edit; a profile has them where they differ from "nothing but pictures".

    Attributes:
        mask: Whether it paints only where a mask is white.
        reference_image: Whether it takes over from a further picture of its own role.
        strength: Whether it reads a strength, from 0 to 1.
        default_strength: The strength that is sent when the caller gives none; None where none is read.
        default_layers: In how many layers it takes a picture apart; None for a model without layers.
        resolutions: The sides of the square whose pixels the picture has, for a model whose size follows from
            that and the input's shape; the first is the default. Empty for a model that makes any size.
        size_follows_up_to: Pixels; an edit has the size of its first picture, whatever is asked for, and no
            side becomes longer than this. None for a model that makes any size.
        min_input_side: Pixels; an input with a shorter side is refused.
        max_input_aspect: An input's longer side may be this many times the shorter one; None for no limit.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )

    mask: bool = False
    reference_image: bool = False
    strength: StrengthUse = "unread"
    default_strength: Annotated[float, Field(ge=0, le=1)] | None = None
    default_layers: Annotated[int, Field(ge=2, le=10)] | None = None
    resolutions: Annotated[tuple[Resolution, ...], BeforeValidator(_tuple)] = ()
    size_follows_up_to: Annotated[int, Field(ge=1)] | None = None
    min_input_side: Annotated[int, Field(ge=1)] = 1
    max_input_aspect: Annotated[float, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _a_strength_that_is_read_has_a_default(self) -> Self:
        if (self.strength == "unread") != (self.default_strength is None):
            raise ValueError("default_strength belongs to a strength that is read, and to no other")
        return self

    def __str__(self) -> str:
        return ", ".join(self._descriptions()) or "pictures alone"

    def _descriptions(self) -> Iterator[str]:
        if self.mask:
            yield "a mask"
        if self.reference_image:
            yield "a reference image"
        if self.default_strength is not None:
            where = " beside these" if self.strength == "with_mask_or_reference" else ""
            yield f"a strength{where} (default {self.default_strength:g})"
        if self.default_layers is not None:
            yield f"2 to 10 layers (default {self.default_layers})"
        if self.resolutions:
            yield f"a resolution of {' or '.join(map(str, self.resolutions))}"
        if self.size_follows_up_to is not None:
            yield "no size, which is the picture's"
        if self.min_input_side > 1:
            yield f"inputs from {self.min_input_side} pixels a side"
        if self.max_input_aspect is not None:
            yield f"inputs up to {self.max_input_aspect:g}:1"


NO_RULES: Final = EditRules()
"""Of a model that reads nothing but pictures and the prompt."""


Quality = Literal["draft", "standard", "best"]
"""draft: quick and rough; standard: the profile's own settings; best: the publisher's, whatever they cost."""

QUALITIES: tuple[Quality, ...] = get_args(Quality)


class Preset(BaseModel):
    """Settings of one quality; None leaves the profile's own. What the caller gives wins over all of them.

    Attributes:
        num_inference_steps: Denoising steps.
        guidance_scale: In the caller's terms.
        width: Pixels, used where the caller asks for no size at all; with a height only.
        height: Pixels, likewise.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )

    num_inference_steps: Annotated[int, Field(ge=1, le=200)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=20)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    height: Annotated[int, Field(ge=1)] | None = None

    @property
    def size(self) -> Size | None:
        """Width and height, where the preset has them."""
        return Size(self.width, self.height) if self.width and self.height else None

    @model_validator(mode="after")
    def _both_sides_or_none(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("a preset has both width and height, or neither")
        return self
