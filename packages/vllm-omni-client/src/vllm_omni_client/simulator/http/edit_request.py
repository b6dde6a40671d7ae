"""Define the form of POST /v1/images/edits as the server accepts it, with few limits on numbers."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.datastructures import UploadFile


def _as_upload(value: object) -> object:
    if not isinstance(value, UploadFile):
        raise ValueError(f"Expected UploadFile, received: {type(value)}")  # noqa: TRY004 - the server's own message and type
    return value


File = Annotated[
    UploadFile, WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"})
]
Upload = Annotated[File, BeforeValidator(_as_upload)]
LISTS = ("image", "image[]", "url", "url[]")
"""Fields that may be given more than once; for any other field, the last value counts."""


class EditBody(BaseModel):
    """The input images and how to edit them; errors are reported in the order of the fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, protected_namespaces=(), arbitrary_types_allowed=True
    )

    image: list[Upload] | None = None
    image_array: list[Upload] | None = Field(default=None, alias="image[]")
    url: list[str] | None = None
    url_array: list[str] | None = Field(default=None, alias="url[]")
    prompt: str
    model: Annotated[str | None, WithJsonSchema({"type": "string"})] = None
    n: int = 1
    size: str = "auto"
    response_format: str = "b64_json"
    output_format: str | None = "png"
    background: str | None = "auto"
    output_compression: int = Field(default=100, ge=0, le=100)
    stream: bool = False
    user: str | None = None
    mask_image: str | File | None = None
    reference_image: str | File | None = None
    negative_prompt: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_scale_2: float | None = None
    strength: float | None = None
    true_cfg_scale: float | None = None
    seed: int | None = None
    generator_device: str | None = None
    lora: str | None = None
    layers: int | None = None
    resolution: int | None = None
    bot_task: str | None = None
    sys_type: str | None = None
    system_prompt: str | None = None
    return_stage_metrics: bool | None = None

    @property
    def inputs(self) -> list[UploadFile | str]:
        """The input images, files before URLs; if both spellings of a field are given, the first counts."""
        return [*(self.image or self.image_array or ()), *(self.url or self.url_array or ())]
