"""Define the request type of `POST /v1/images/edits`.

Source of fields: `edit_images` in `vllm_omni/entrypoints/openai/api_server.py` of vLLM-Omni 0.30.0. The
server does not check the bounds of n, steps, guidance and strength here, so those of generations apply.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from vllm_omni_client._fields import STRICT, OutputFormat, Seed, SizePair, Text, invalid_parameter, size_text
from vllm_omni_client.errors import InvalidParameter
from vllm_omni_client.models import Lora

_AUTO = "auto"
# Starlette refuses a form field of more than 1 MiB that is not a file.
_MAX_FIELD_BYTES = 1024 * 1024


def _fits_in_a_form(value: str) -> str:
    if len(value.encode()) > _MAX_FIELD_BYTES:
        raise ValueError("is longer than 1 MiB, the server's limit for a form field")
    return value


def _size_or_auto(value: str) -> str:
    return value if value == _AUTO else size_text(value)


SizeOrAuto = Annotated[str, SizePair, AfterValidator(_size_or_auto)]
FormText = Annotated[Text, AfterValidator(_fits_in_a_form)]


class ImageEditRequest(BaseModel):
    """A request to `POST /v1/images/edits`, without its images; fields that are None are not sent.

    Fields that a generation has, too, mean the same; see `ImageGenerationRequest`.

    Attributes:
        prompt: How to change the images.
        size: "WIDTHxHEIGHT" in pixels, the pair (width, height), or "auto" for the size of the first image.
        response_format: Edits support only "b64_json".
        background: Such as "auto" or "transparent", for models that support transparency.
        guidance_scale_2: 0 to 20; only for models with two guidance scales.
        strength: 0 to 1: how far the result may depart from the input image.
        resolution: 640 or 1024, instead of a size; only for layered models.
        sys_type: HunyuanImage-3.0 only.

    Raises:
        InvalidParameter: A value has the wrong type or is out of range.
    """

    model_config: ClassVar[ConfigDict] = STRICT

    prompt: FormText
    model: FormText | None = None
    n: int = Field(default=1, ge=1, le=10)
    size: SizeOrAuto | None = None
    response_format: Literal["b64_json"] | None = None
    output_format: OutputFormat | None = None
    output_compression: int | None = Field(default=None, ge=0, le=100)
    background: FormText | None = None
    user: FormText | None = None
    negative_prompt: FormText | None = None
    num_inference_steps: int | None = Field(default=None, ge=1, le=200)
    guidance_scale: float | None = Field(default=None, ge=0, le=20)
    guidance_scale_2: float | None = Field(default=None, ge=0, le=20)
    true_cfg_scale: float | None = Field(default=None, ge=0, le=20)
    strength: float | None = Field(default=None, ge=0, le=1)
    seed: Seed | None = None
    generator_device: FormText | None = None
    lora: Lora | None = Field(default=None, strict=False)
    layers: int | None = Field(default=None, ge=2, le=10)
    resolution: Literal[640, 1024] | None = None
    bot_task: FormText | None = None
    sys_type: FormText | None = None
    system_prompt: FormText | None = None
    return_stage_metrics: bool | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_by_name(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            request = handler(data)
        except ValidationError as error:
            raise invalid_parameter(error, cls.model_fields) from error
        if request.resolution is not None and request.size not in {None, _AUTO}:
            raise InvalidParameter("resolution and size cannot be used together", parameter="resolution")
        return request

    def to_form(self) -> list[tuple[str, str]]:
        """Return the form fields to send, without fields that are None."""
        fields = self.model_dump(exclude_none=True, exclude={"lora"})
        form = [
            (name, str(value).lower() if isinstance(value, bool) else str(value))
            for name, value in fields.items()
        ]
        return form if self.lora is None else [*form, ("lora", self.lora.model_dump_json(exclude_none=True))]
