"""A quality preset: what "draft" or "best" changes of a model's settings."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vllm_image_core.parameters.size import Size

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

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

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
