"""An image request: what a caller asks for, before anything is checked or filled in."""

from dataclasses import dataclass
from typing import Literal

from vllm_image_core.models.settings import Quality

OutputFormat = Literal["png", "jpeg", "webp"]
"""What the server can encode a picture as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """The caller's own values, unchecked: `resolver.resolve` checks them and fills in the rest.

    None means "not asked for": the model's profile decides.

    Attributes:
        prompt: What the picture shows.
        negative_prompt: What it should not show; dropped, with a note, for a model that reads none.
        width: Pixels; a multiple of the model's `resolution_multiple`. With no height, the height is
            that of the model's default size.
        height: Pixels, as `width`.
        aspect_ratio: One of the model's `supported_aspect_ratios`, such as "16:9"; wins over width
            and height.
        num_inference_steps: Denoising steps, 1 to 200.
        guidance_scale: 0 to 20, the same word for every model, whatever field its pipeline reads.
        seed: A signed 64-bit integer; drawn when None. 0 to 4294967295 means the same on every device.
        filename: The file's name in the output folder; the store checks it.
        quality: "draft", "standard" or "best": the settings that the profile has for it, where the request
            has none of its own.
        seed_drawn: Whether the seed was drawn for this request rather than asked for.
        tag: The caller's own word for it, to find it by: 1 to 100 characters. It is not sent.
        output_format: "png", "jpeg" or "webp": what the server encodes the picture as. When None, the format
            of the filename's extension; PNG without one. Only PNG keeps every pixel.
    """

    prompt: str
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    aspect_ratio: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    filename: str | None = None
    quality: Quality | None = None
    seed_drawn: bool = False
    tag: str | None = None
    output_format: OutputFormat | None = None
