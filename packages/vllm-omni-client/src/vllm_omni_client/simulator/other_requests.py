"""The bodies of requests for text, sound and video, as far as they are looked at."""

from typing import Annotated, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

_INT64_MAX = 2**63 - 1


class OtherRequest(BaseModel):
    """What all of them share."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, protected_namespaces=())


class Tokenize(OtherRequest):
    """The body of POST /tokenize."""

    model: str | None = None
    prompt: str


class TokenizeConversation(OtherRequest):
    """Another body of POST /tokenize."""

    model: str | None = None
    messages: list[dict[str, object]]


class Detokenize(OtherRequest):
    """The body of POST /detokenize."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0, le=_INT64_MAX)]]


class Complete(OtherRequest):
    """The body of POST /v1/completions."""

    model: str | None = None
    prompt: object = None
    prompt_embeds: object = None
    echo: bool | None = False
    frequency_penalty: float | None = 0.0
    logprobs: int | None = None
    max_tokens: int | None = 16
    n: int = 1
    presence_penalty: float | None = 0.0
    seed: int | None = None
    stream: bool | None = False
    suffix: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None


class Respond(OtherRequest):
    """The body of POST /v1/responses."""

    input: object
    model: str | None = None
    prompt: object = None
    stream: bool | None = False
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _begun(cls, data: object, info: ValidationInfo) -> object:
        """The server writes a member of its own first, and counts it when it complains."""
        if not isinstance(data, dict):
            return data
        name, value = cast("tuple[str, object]", info.context)
        return {**cast("dict[str, object]", data), name: value}


class CountTokens(OtherRequest):
    """The body of POST /v1/messages/count_tokens."""

    model: str
    messages: list[object]

    @field_validator("model")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value:
            raise ValueError("Model is required")
        return value


class Converse(CountTokens):
    """The body of POST /v1/messages."""

    max_tokens: int

    @field_validator("max_tokens")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value <= 0:
            raise ValueError("max_tokens must be positive")
        return value


class RenderConversation(OtherRequest):
    """The body of POST /v1/chat/completions/render."""

    messages: list[dict[str, object]]


class DerenderConversation(OtherRequest):
    """The body of POST /v1/chat/completions/derender."""

    model: str
    generate_response: object


class Derender(OtherRequest):
    """The body of POST /v1/completions/derender."""

    model: str
    generate_responses: object


class Generate(OtherRequest):
    """The body of POST /inference/v1/generate."""

    token_ids: list[int]
    sampling_params: dict[str, object]


class Speak(OtherRequest):
    """The body of POST /v1/audio/speech."""

    input: str
    model: str | None = None
    voice: str | None = None
    instructions: str | None = None
    response_format: Literal["wav", "pcm", "flac", "mp3", "opus"] = "wav"
    speed: float | None = Field(default=1.0, ge=0.25, le=4.0)


class SpeakMuch(OtherRequest):
    """The body of POST /v1/audio/speech/batch."""

    items: list[Speak] = Field(min_length=1)


class Sound(OtherRequest):
    """The body of POST /v1/audio/generate."""

    input: str
    model: str | None = None
    audio_length: float | None = Field(default=None, gt=0)

    @field_validator("input")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("input cannot be empty")
        return value


class Voice(OtherRequest):
    """The form of POST /v1/audio/voices."""

    consent: str
    name: str


class Session(OtherRequest):
    """The body of POST /v1/realtime/sessions."""

    model: str


class Step(OtherRequest):
    """The body of POST /v1/realtime/sessions/{id}/step."""

    step_id: object
    observation: object
    action: object


class Film(OtherRequest):
    """The form of POST /v1/videos."""

    prompt: str
    model: str | None = None
    seconds: str | None = Field(default=None, pattern=r"^[1-9]\d*$")
    size: str | None = Field(default=None, pattern=r"^\d+x\d+$")
    fps: float | None = None
    num_frames: int | None = None


class FilmList(OtherRequest):
    """The query of GET /v1/videos."""

    after: str | None = None
    limit: int | None = Field(default=None, ge=0, le=100)
    order: Literal["asc", "desc"] = "desc"
