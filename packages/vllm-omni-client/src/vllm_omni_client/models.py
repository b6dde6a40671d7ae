"""Wire types: what a request and a reply look like, as vLLM-Omni 0.30.0 writes them.

Source of fields and bounds: `vllm_omni/entrypoints/openai/protocol/images.py` of vLLM-Omni 0.30.0.
"""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from vllm_omni_client._fields import STRICT, JsonObject, OutputFormat, Seed, SizeText, Text, refusal
from vllm_omni_client.replies import (
    GenerationMetrics,
    ImageGenerationReply,
    ModelCard,
    ModelList,
    ReplyImage,
)

__all__ = [
    "GenerationMetrics",
    "ImageGenerationReply",
    "ImageGenerationRequest",
    "Lora",
    "ModelCard",
    "ModelList",
    "OutputFormat",
    "ReplyImage",
]


class Lora(BaseModel):
    """A LoRA adapter for one request.

    Attributes:
        name: The adapter's name.
        path: Where it lies, seen from the server.
        scale: Its weight; None leaves it to the server.
        int_id: Its number on the server; None leaves it to the server.
    """

    model_config: ClassVar[ConfigDict] = STRICT

    name: Text = Field(min_length=1)
    path: Text = Field(min_length=1)
    scale: float | None = None
    int_id: int | None = None


class ImageGenerationRequest(BaseModel):
    """A request to `POST /v1/images/generations`; what is None is not sent.

    The server ignores unknown fields in silence, so unknown ones are refused here. Types are strict:
    True, "7" and 7.0 are no integers; NaN and infinity are no numbers.

    Attributes:
        prompt: What to draw. The server takes an empty one; some models then fail with 500.
        model: The served name; it must be the first one. None is always right.
        n: How many pictures from one forward pass, 1 to 10.
        size: "WIDTHxHEIGHT" in pixels. Most models round down to multiples of 16, some refuse.
        response_format: "b64_json", or "file" for the picture's own bytes (a zip of them for n > 1), without
            metrics; 0.26 and later. None leaves the choice to the client.
        user: A name for the caller; the server does not use it.
        negative_prompt: What not to draw. For Qwen-Image, its presence switches guidance on.
        num_inference_steps: 1 to 200. Left out, the server takes 50 for most models, distilled ones too.
        guidance_scale: 0 to 20; a no-op for Qwen-Image.
        true_cfg_scale: 0 to 20; what Qwen-Image reads, and only with a negative prompt.
        flow_shift: The shift of the flow-matching schedule.
        extra_params: Parameters that only one pipeline knows.
        seed: -2**63 to 2**63 - 1. Left out, the client draws one, and the reply tells it.
        generator_device: "cpu" or "cuda": where the noise is drawn.
        lora: An adapter for this request.
        layers: 2 to 10; only for layered models.
        output_format: "png", "jpeg" or "webp". Servers before 0.20 always answer with PNG.
        output_compression: 0 to 100. JPEG and WebP: quality. PNG: 100 is uncompressed, 0 is the smallest.
        return_stage_metrics: Ask for `metrics` per stage.
        bot_task: HunyuanImage-3.0 only.
        system_prompt: HunyuanImage-3.0 only.
        use_system_prompt: HunyuanImage-3.0 only.
        vae_use_slicing: Taken by the server, not used by it.
        vae_use_tiling: Taken by the server, not used by it.

    Raises:
        InvalidParameter: A value is of the wrong type or outside of its bounds.
    """

    model_config: ClassVar[ConfigDict] = STRICT

    prompt: Text
    model: Text | None = None
    n: int = Field(default=1, ge=1, le=10)
    size: SizeText | None = None
    response_format: Literal["b64_json", "file"] | None = None
    user: Text | None = None
    negative_prompt: Text | None = None
    num_inference_steps: int | None = Field(default=None, ge=1, le=200)
    guidance_scale: float | None = Field(default=None, ge=0, le=20)
    true_cfg_scale: float | None = Field(default=None, ge=0, le=20)
    flow_shift: float | None = None
    extra_params: JsonObject | None = None
    seed: Seed | None = None
    generator_device: Text | None = None
    lora: Lora | None = Field(default=None, strict=False)
    layers: int | None = Field(default=None, ge=2, le=10)
    output_format: OutputFormat | None = None
    output_compression: int | None = Field(default=None, ge=0, le=100)
    return_stage_metrics: bool | None = None
    bot_task: Text | None = None
    system_prompt: Text | None = None
    use_system_prompt: Text | None = None
    vae_use_slicing: bool | None = None
    vae_use_tiling: bool | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_by_name(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            raise refusal(error) from error

    def to_json(self) -> bytes:
        """Return the body to send: flat JSON without the fields that are None."""
        return self.model_dump_json(exclude_none=True).encode()
