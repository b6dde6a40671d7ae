"""The body of POST /v1/chat/completions, as far as it matters for a picture.

Of a conversation the server takes the words of the user, and the pictures among them that are data URLs.
Everything else that a language model would read is checked for its type and not used.
"""

import base64
import binascii
import io
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Literal, cast

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from vllm_omni_client.simulator.input_picture import UNREADABLE
from vllm_omni_client.simulator.release import Release

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1
_OPTIONS: Final = (
    *("height", "width", "size", "num_outputs_per_prompt", "seed", "quality", "num_inference_steps"),
    *("guidance_scale", "true_cfg_scale", "num_frames", "guidance_scale_2", "layers", "resolution"),
    *("negative_prompt", "lora", "modalities"),
)
_ALIASES: Final[Mapping[str, str]] = {"cfg_scale": "true_cfg_scale"}
_EXTRAS: Final = ("extra_args", "extra_params")
_QUALITIES: Final = ["lossless", "high"]


class StreamOptions(BaseModel):
    """How a language model's answer would be streamed."""

    include_usage: bool | None = True


class Function(BaseModel):
    """What a language model could call."""

    name: str


class Tool(BaseModel):
    """A function, as a tool of a language model."""

    function: Function


class ChatRequest(BaseModel):
    """A conversation; the order of the fields is the order of the errors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    messages: list[dict[str, object]] = Field(description="The words and pictures of the user count.")
    model: str | None = Field(default=None, description="Not looked at.")
    frequency_penalty: float | None = Field(default=0.0, description="Not used.")
    logit_bias: dict[str, float] | None = Field(default=None, description="Not used.")
    logprobs: bool | None = Field(default=False, description="Not used.")
    top_logprobs: int | None = Field(default=0, description="Not used.")
    max_tokens: int | None = Field(default=None, description="Not used.")
    max_completion_tokens: int | None = Field(default=None, description="Not used.")
    n: int | None = Field(default=1, description="Not used; the option is num_outputs_per_prompt.")
    presence_penalty: float | None = Field(default=0.0, description="Not used.")
    seed: int | None = Field(default=None, ge=_INT64_MIN, le=_INT64_MAX, description="Start of the noise.")
    stop: str | list[str] | None = Field(default=[], description="Not used.")
    stream: bool | None = Field(default=False, description="Not used.")
    stream_options: StreamOptions | None = Field(default=None, description="Not used.")
    temperature: float | None = Field(default=None, description="Not used.")
    top_p: float | None = Field(default=None, description="Not used.")
    tools: list[Tool] | None = Field(default=None, description="Not used.")
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        default=None, description="Not used."
    )
    include_reasoning: bool = Field(default=True, description="Not used.")
    parallel_tool_calls: bool | None = Field(default=True, description="Not used.")
    user: str | None = Field(default=None, description="Not used.")
    use_beam_search: bool = Field(default=False, description="Not used.")
    top_k: int | None = Field(default=None, description="Not used.")
    min_p: float | None = Field(default=None, description="Not used.")
    repetition_penalty: float | None = Field(default=None, description="Not used.")
    length_penalty: float = Field(default=1.0, description="Not used.")
    stop_token_ids: list[int] | None = Field(default=[], description="Not used.")
    include_stop_str_in_output: bool = Field(default=False, description="Not used.")
    ignore_eos: bool = Field(default=False, description="Not used.")
    min_tokens: int = Field(default=0, description="Not used.")
    skip_special_tokens: bool = Field(default=True, description="Not used.")
    spaces_between_special_tokens: bool = Field(default=True, description="Not used.")
    prompt_logprobs: int | None = Field(default=None, description="Not used.")
    allowed_token_ids: list[int] | None = Field(default=None, description="Not used.")
    bad_words: list[str] = Field(default=[], description="Not used.")
    echo: bool = Field(default=False, description="Not used.")
    add_generation_prompt: bool = Field(default=True, description="Not used.")
    continue_final_message: bool = Field(default=False, description="Not used.")
    add_special_tokens: bool = Field(default=False, description="Not used.")
    documents: list[dict[str, str]] | None = Field(default=None, description="Not used.")
    chat_template: str | None = Field(default=None, description="Not used.")
    chat_template_kwargs: dict[str, object] | None = Field(default=None, description="Not used.")
    priority: int = Field(default=0, ge=_INT64_MIN, le=_INT64_MAX, description="Not used.")
    request_id: str = Field(default="", description="Not used.")

    def prompt(self) -> str:
        """The words of the user, joined."""
        return " ".join(_words(self.messages)).strip()

    def pictures(self) -> tuple[Image.Image, ...]:
        """The pictures of the user; what cannot be read is passed over, as on the server."""
        return tuple(picture for address in _addresses(self.messages) for picture in _opened(address))

    def options(self, release: Release) -> Mapping[str, object]:
        """What is asked of the picture.

        Raises:
            ValueError: In the server's words, for a reply of 400.
            AttributeError: Likewise, for one of 500.
        """
        source = release.chat_options
        root = {**(self.model_extra or {}), **self.model_dump(include=self.model_fields_set)}
        nested: object = root.pop("extra_body", None)
        if "extra_body" not in release.checks_in_chat:
            _read_members(nested)
        if source == "nested":
            return _as_object("extra_body", nested)
        if source == "nested_or_root":
            return _as_object("extra_body", nested) or root
        inner = _as_object("request.extra_body", nested)
        _refuse_twice_given(root, inner)
        given = {**_known(inner), **_known(root)}
        quality = given.get("quality")
        if "quality" in release.checks_in_chat and quality is not None and quality not in _QUALITIES:
            raise ValueError(f"quality must be one of {_QUALITIES}, got {quality!r}")
        return given


def _read_members(value: object) -> None:
    """Fail as a server does that takes it for an object unseen.

    Raises:
        AttributeError: In its words.
    """
    if value and not isinstance(value, dict):
        raise AttributeError(f"{type(value).__name__!r} object has no attribute 'get'")


def _known(options: Mapping[str, object]) -> dict[str, object]:
    return {
        _ALIASES.get(name, name): value for name, value in options.items() if name in (*_OPTIONS, *_ALIASES)
    }


def _as_object(name: str, value: object) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a JSON object.")  # noqa: TRY004 - the server answers 400
    return cast("Mapping[str, object]", value)


def _refuse_twice_given(root: Mapping[str, object], nested: Mapping[str, object]) -> None:
    sources = [("request", root), ("request.extra_body", nested)]
    places: dict[str, list[str]] = {}
    for prefix, options in sources:
        for name in sorted(set(options) & {*_OPTIONS, *_ALIASES}):
            places.setdefault(_ALIASES.get(name, name), []).append(f"{prefix}.{name}")
    for (prefix, options), shown in zip(sources, ("", "extra_body."), strict=True):
        for extra in _EXTRAS:
            for name in sorted(_as_object(f"{shown}{extra}", options.get(extra))):
                places.setdefault(_ALIASES.get(name, name), []).append(f"{prefix}.{extra}.{name}")
    twice = [f'"{name}": {", ".join(found)}' for name, found in sorted(places.items()) if len(found) > 1]
    if twice:
        raise ValueError(f"Diffusion request parameters were provided more than once: {'; '.join(twice)}.")


def _parts(messages: list[dict[str, object]]) -> Iterator[Mapping[str, object]]:
    """What the user said, in parts; a bare text within a list is passed over, as on the server."""
    for message in messages:
        content = message.get("content") if message.get("role") == "user" else None
        if isinstance(content, str):
            yield {"text": content}
        elif isinstance(content, list):
            for part in cast("list[object]", content):
                if isinstance(part, dict):
                    yield cast("dict[str, object]", part)


def _words(messages: list[dict[str, object]]) -> Iterator[str]:
    for part in _parts(messages):
        text = part.get("text") if part.get("type", "text") == "text" else None
        if isinstance(text, str):
            yield text


def _addresses(messages: list[dict[str, object]]) -> Iterator[str]:
    """The data URLs of pictures.

    Raises:
        AttributeError: A picture is no object, in the words that the server answers 500 with.
    """
    for part in _parts(messages):
        picture: object = part.get("image_url", {}) if part.get("type") == "image_url" else {}
        if not isinstance(picture, dict):
            words = f"{type(picture).__name__!r} object has no attribute 'get'"
            raise AttributeError(words)  # noqa: TRY004 - the server's own type
        address = cast("dict[str, object]", picture).get("url")
        if isinstance(address, str) and address.startswith("data:image"):
            yield address


def _opened(address: str) -> Iterator[Image.Image]:
    try:
        yield Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    except (binascii.Error, *UNREADABLE):
        return


class BatchChatRequest(ChatRequest):
    """Several conversations."""

    model_config: ClassVar[ConfigDict] = ConfigDict(title="BatchChatCompletionRequest")

    messages: list[list[dict[str, object]]] = Field(min_length=1)  # type: ignore[assignment]  # one level deeper, as the server has it

    def each(self) -> tuple[ChatRequest, ...]:
        """The conversations, one by one."""
        rest = {**self.model_dump(include=self.model_fields_set - {"messages"}), **(self.model_extra or {})}
        return tuple(ChatRequest.model_validate({**rest, "messages": one}) for one in self.messages)
