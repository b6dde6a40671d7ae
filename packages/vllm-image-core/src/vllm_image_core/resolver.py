"""A resolved request: the caller's values over the profile's, checked, and ready to be sent."""

from dataclasses import dataclass

from vllm_omni_client.models import ImageGenerationRequest

from vllm_image_core.note import Note
from vllm_image_core.profile import GuidanceField
from vllm_image_core.request import ImageRequest
from vllm_image_core.size import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRequest:
    """What will be sent: every value that shapes the picture, none left to the server's defaults.

    Attributes:
        model: The profile's model: a Hugging Face id, or "fallback".
        prompt: As the caller gave it.
        negative_prompt: As it is sent; None when none is sent.
        width: Pixels.
        height: Pixels.
        num_inference_steps: Denoising steps.
        guidance_scale: In the caller's terms.
        guidance_field: The field it is sent in.
        sent_guidance: The value it is sent with.
        guided: Whether it runs a second forward pass at each step: about twice the time.
        seed: The seed, the caller's or the one that was drawn.
        notes: What was changed, and what the caller should know.
    """

    model: str
    prompt: str
    negative_prompt: str | None
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    guidance_field: GuidanceField
    sent_guidance: float
    guided: bool
    seed: int
    notes: tuple[Note, ...] = ()

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    def as_request(self) -> ImageRequest:
        """The request that resolves to this again."""
        return ImageRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            width=self.width,
            height=self.height,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
        )

    def to_wire(self) -> ImageGenerationRequest:
        """The request as the server takes it: one picture, PNG, with steps, guidance and seed."""
        return ImageGenerationRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            n=1,
            size=str(self.size),
            response_format="b64_json",
            output_format="png",
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self._guidance_in("guidance_scale"),
            true_cfg_scale=self._guidance_in("true_cfg_scale"),
            seed=self.seed,
        )

    def _guidance_in(self, field: GuidanceField) -> float | None:
        return self.sent_guidance if field == self.guidance_field else None
