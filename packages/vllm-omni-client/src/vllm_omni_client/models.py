"""Define the request type of `POST /v1/images/generations`, and re-export the reply types.

Source of fields and bounds: `vllm_omni/entrypoints/openai/protocol/images.py` of vLLM-Omni 0.30.0.
"""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from vllm_omni_client._fields import STRICT, JsonObject, OutputFormat, Seed, SizeText, Text, invalid_parameter
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
        path: Its path on the server.
        scale: Its weight; None uses the server's default.
        int_id: Its number on the server; None lets the server choose.
    """

    model_config: ClassVar[ConfigDict] = STRICT

    name: Text = Field(min_length=1)
    path: Text = Field(min_length=1)
    scale: float | None = None
    int_id: int | None = None


class ImageGenerationRequest(BaseModel):
    """A request to `POST /v1/images/generations`; fields that are None are not sent.

    The server silently ignores unknown fields, so they are refused here. Types are strict: True, "7" and 7.0
    are not integers, NaN and infinity are not numbers.

    Attributes:
        prompt: What to generate. The server accepts an empty prompt; some models then fail with 500.
        model: The served name; it must be the first one. None always works.
        n: Images per forward pass, 1 to 10.
        size: "WIDTHxHEIGHT" in pixels, or the pair (width, height). Most models round down to multiples of
            16, some refuse other sizes.
        response_format: "b64_json", or "file" for the image's own bytes (a zip if n > 1) without metrics.
            "file" requires 0.26 or later. None lets the client choose.
        user: A name for the caller; the server does not use it.
        negative_prompt: What the image should not show. For Qwen-Image, its presence turns guidance on.
        num_inference_steps: 1 to 200. If omitted, the server uses 50 for most models, even distilled ones.
        guidance_scale: 0 to 20; no effect on Qwen-Image.
        true_cfg_scale: 0 to 20; Qwen-Image reads it, and only with a negative prompt.
        flow_shift: The shift of the flow-matching schedule.
        extra_params: Parameters specific to one pipeline.
        seed: -2**63 to 2**63 - 1. If omitted, the client draws one and reports it in the reply.
        generator_device: "cpu" or "cuda": where the noise is generated.
        lora: An adapter for this request.
        layers: 2 to 10; only for layered models.
        output_format: "png", "jpeg" or "webp". Servers before 0.20 always answer with PNG.
        output_compression: 0 to 100. JPEG and WebP: quality. PNG: 100 is uncompressed, 0 is the smallest.
        return_stage_metrics: Whether to return `metrics` per stage.
        bot_task: HunyuanImage-3.0 only.
        system_prompt: HunyuanImage-3.0 only.
        use_system_prompt: HunyuanImage-3.0 only.
        vae_use_slicing: Accepted by the server, but not used.
        vae_use_tiling: Accepted by the server, but not used.

    Raises:
        InvalidParameter: A value has the wrong type or is out of range.
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
            raise invalid_parameter(error, cls.model_fields) from error

    def to_json(self) -> bytes:
        """Return the body to send: flat JSON without fields that are None."""
        return self.model_dump_json(exclude_none=True).encode()
