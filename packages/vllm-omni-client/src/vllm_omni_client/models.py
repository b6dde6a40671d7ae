"""Wire types: what a request and a reply look like, as vLLM-Omni 0.30.0 writes them.

Source of fields and bounds: `vllm_omni/entrypoints/openai/protocol/images.py` of vLLM-Omni 0.30.0.
"""

import base64
import binascii
import json
import re
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    ModelWrapValidatorHandler,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from vllm_omni_client._text import printable
from vllm_omni_client.errors import InvalidParameter

OutputFormat = Literal["png", "jpeg", "webp"]

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_SHOWN_VALUE: Final = 60
_SIZE: Final = re.compile(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}")
_DATA_URL: Final = re.compile(r"data:[\w.+-]{1,64}/[\w.+-]{1,64};base64,", re.ASCII | re.IGNORECASE)


def _encodable(value: str) -> str:
    """Refuse text that UTF-8 cannot carry, such as half of an emoji."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds a lone surrogate, which is no character") from error
    return value


def _encodable_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    _encodable(json.dumps(value, ensure_ascii=False))
    return value


def _size_text(value: str) -> str:
    if not _SIZE.fullmatch(value):
        raise ValueError("must be WIDTHxHEIGHT in pixels, such as 1024x1024")
    return value


Text = Annotated[str, AfterValidator(_encodable)]
SizeText = Annotated[str, AfterValidator(_size_text)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_encodable_json)]


class Lora(BaseModel):
    """A LoRA adapter for one request.

    Attributes:
        name: The adapter's name.
        path: Where it lies, seen from the server.
        scale: Its weight; None leaves it to the server.
        int_id: Its number on the server; None leaves it to the server.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

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
        response_format: Only "b64_json" is read by this client.
        user: A name for the caller; the server does not use it.
        negative_prompt: What not to draw. For Qwen-Image, its presence switches guidance on.
        num_inference_steps: 1 to 200. Left out, the server takes 50 for most models, distilled ones too.
        guidance_scale: 0 to 20; a no-op for Qwen-Image.
        true_cfg_scale: 0 to 20; what Qwen-Image reads, and only with a negative prompt.
        flow_shift: The shift of the flow-matching schedule.
        extra_params: Parameters that only one pipeline knows.
        seed: -2**63 to 2**63 - 1. Left out, the server draws one and never tells which.
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

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    prompt: Text
    model: Text | None = None
    n: int = Field(default=1, ge=1, le=10)
    size: SizeText | None = None
    response_format: Literal["b64_json"] | None = None
    user: Text | None = None
    negative_prompt: Text | None = None
    num_inference_steps: int | None = Field(default=None, ge=1, le=200)
    guidance_scale: float | None = Field(default=None, ge=0, le=20)
    true_cfg_scale: float | None = Field(default=None, ge=0, le=20)
    flow_shift: float | None = None
    extra_params: JsonObject | None = None
    seed: int | None = Field(default=None, ge=_INT64_MIN, le=_INT64_MAX)
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
            raise _refusal(error) from error

    def to_json(self) -> bytes:
        """Return the body to send: flat JSON without the fields that are None."""
        return self.model_dump_json(exclude_none=True).encode()


def _refusal(error: ValidationError) -> InvalidParameter:
    """Say the first of pydantic's complaints in one line."""
    complaint = error.errors(include_url=False)[0]
    parameter = ".".join(str(part) for part in complaint["loc"])
    value = printable(repr(complaint["input"]), limit=_SHOWN_VALUE)
    what = f"{parameter} = {value}" if complaint["type"] != "missing" else parameter
    return InvalidParameter(
        f"{what}: {complaint['msg'].removeprefix('Value error, ')}", parameter=parameter or None
    )


def _strictly_decoded(value: object) -> object:
    """Decode base64 strictly: junk is an error, and not skipped as by default."""
    if not isinstance(value, str):
        return value
    prefix = _DATA_URL.match(value)
    text = value[prefix.end() :] if prefix else value
    try:
        return base64.b64decode(text.rstrip("\r\n"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not base64: {error}") from error


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


PictureBytes = Annotated[
    bytes,
    Field(min_length=1),
    BeforeValidator(_strictly_decoded),
    PlainSerializer(_encoded, when_used="json"),
]


def _or_none(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Take what stands beside a paid picture for absent when it cannot be read."""
    try:
        return handler(value)
    except ValidationError:
        return None


_Lenient = WrapValidator(_or_none)


class _Reply(BaseModel):
    """What all replies share: frozen, unknown keys ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class ReplyImage(_Reply):
    """One picture of a reply.

    Attributes:
        bytes: The picture's file, base64 already decoded. Its format is whatever the server chose.
        revised_prompt: Always None in 0.30.0.
    """

    bytes: PictureBytes = Field(validation_alias="b64_json", repr=False)
    revised_prompt: Annotated[str | None, _Lenient] = None


class GenerationMetrics(_Reply):
    """What the server measured; 0.26 and later.

    Attributes:
        stage_durations: As sent: keys that end in `_ms` in milliseconds, all others in seconds.
        peak_memory_mb: Peak of the memory that torch had reserved in this request's forward pass, in MiB.
    """

    stage_durations: dict[str, FiniteFloat] = Field(default_factory=dict)
    peak_memory_mb: Annotated[FiniteFloat | None, _Lenient] = None

    @property
    def generation_seconds(self) -> float | None:
        """How long the first stage took, its time in the queue included; None when not told."""
        milliseconds = self.stage_durations.get("stage_0_gen_ms")
        return None if milliseconds is None else milliseconds / 1000


class ImageGenerationReply(_Reply):
    """The reply to a generation; at least one picture.

    Attributes:
        created: Unix time in seconds; None when the server does not tell it.
        data: The pictures. Their number may differ from `n` for some pipelines.
        output_format: The format as the server tells it; 0.20 and later.
        size: "WIDTHxHEIGHT"; since 0.30 the real size, before an echo of the request.
        metrics: What the server measured; None when it tells nothing, or nothing that can be read.
    """

    created: Annotated[int | None, _Lenient] = None
    data: tuple[ReplyImage, ...] = Field(min_length=1)
    output_format: Annotated[str | None, _Lenient] = None
    size: Annotated[str | None, _Lenient] = None
    metrics: Annotated[GenerationMetrics | None, _Lenient] = None


class ModelCard(_Reply):
    """One served name.

    Attributes:
        id: The served name.
        root: A Hugging Face id or a path on the server: what the name stands for.
        owned_by: "vllm".
        max_model_len: In tokens; None for a server that only draws.
    """

    id: str = Field(min_length=1, max_length=1000)
    root: str | None = Field(default=None, max_length=1000)
    owned_by: str = ""
    max_model_len: int | None = None


class ModelList(_Reply):
    """The reply to `GET /v1/models`; every card is the same model under another name.

    Attributes:
        data: The cards; the first name is the only one that generations take.
    """

    data: tuple[ModelCard, ...]
