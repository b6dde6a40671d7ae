"""Define the image request: the caller's own values, before anything is checked or filled in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from vllm_image_core.models.quality import Quality
from vllm_image_core.requests.fields import OutputFormat, PlainFields
from vllm_image_core.requests.style import Style

if TYPE_CHECKING:
    from vllm_image_core.requests.input_picture import InputImage

Task = Literal["generation", "edit"]
"""What a request asks a server to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest(PlainFields):
    """The caller's own values, unchecked: `resolver.resolve` checks them and fills in the rest.

    None means "not requested": the model's profile decides.

    Attributes:
        prompt: What the image should show.
        negative_prompt: What it should not show; dropped, with a note, if the model does not support it.
        width: Pixels; a multiple of the model's `resolution_multiple`. Without a height, the height is
            that of the model's default size.
        height: Pixels, like `width`.
        aspect_ratio: One of the model's `supported_aspect_ratios`, such as "16:9"; overrides width
            and height.
        num_inference_steps: Denoising steps, 1 to 200.
        guidance_scale: 0 to 20, under this name for every model, whatever field its pipeline reads.
        seed: A signed 64-bit integer; drawn if None. Seeds from 0 to 4294967295 mean the same on every
            device.
        filename: The file's name, or its path below the output folder; the store checks it.
        quality: "draft", "standard" or "best": the profile's settings for it fill in what the request
            does not set.
        style: A `Style`, or the name of one, which a studio looks up.
        seed_drawn: Whether the seed was drawn for this request, not given by the caller.
        tag: The caller's own label, to find the image by: 1 to 100 characters. It is not sent.
        output_format: How the server encodes the image: "png", "jpeg" or "webp". If None, the format of the
            filename's extension, or PNG. Only PNG is lossless.
    """

    task: ClassVar[Task] = "generation"

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
    style: Style | str | None = None
    seed_drawn: bool = False
    tag: str | None = None
    output_format: OutputFormat | None = None

    @property
    def inputs_by_role(self) -> tuple[tuple[str, object], ...]:
        """Each input image with its role; a generation has none."""
        return ()

    def with_inputs(self, inputs: "Iterable[tuple[str, InputImage]]") -> Self:  # noqa: ARG002 - edits have them
        """Return an edit with these input images, by role, and a generation as it is."""
        return self
