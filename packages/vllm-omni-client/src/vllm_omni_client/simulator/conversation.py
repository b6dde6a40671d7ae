"""The rules of a conversation that go before the types of its fields; most are about language models."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, cast

from vllm_omni_client.simulator.refusal import Refusal

_KIND: Final = "BadRequestError"
_LOGPROBS: Final = ("prompt_logprobs", "top_logprobs")
_ALL: Final = -1


def check_conversation(document: object) -> None:
    """Whether the server goes on to look at the fields.

    Source: the validators of `ChatCompletionRequest` in vLLM 0.30.0, the last of which runs first.

    Raises:
        Refusal: In its words.
    """
    if not isinstance(document, dict):
        return
    conversation = cast("Mapping[str, object]", document)
    _check_iterable(conversation)
    _check_tools(conversation)
    _check_logprobs(conversation)
    if conversation.get("stream_options") and not conversation.get("stream"):
        raise _refused("Stream options can only be defined when `stream=True`.", "stream_options")
    salt = conversation.get("cache_salt")
    if salt is not None and not (isinstance(salt, str) and salt):
        raise _refused("Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt")


def check_read_conversation(conversation: Mapping[str, object]) -> None:
    """What vLLM-Omni itself refuses of a conversation that fits the schema.

    Raises:
        Refusal: In its words.
    """
    modalities, logprobs = conversation.get("modalities"), conversation.get("logprobs")
    if modalities is not None and not _are_texts(modalities):
        message = 'modalities must be a list of strings, e.g. ["text", "audio", "image"]'
        raise Refusal(HTTPStatus.BAD_REQUEST, message)
    if logprobs is not None and not isinstance(logprobs, bool):
        raise Refusal(HTTPStatus.BAD_REQUEST, "logprobs must be a boolean (true or false)")


def _check_iterable(conversation: Mapping[str, object]) -> None:
    """The server goes through the messages, and what they call, before it looks at their types."""
    messages = conversation.get("messages", [])
    if messages is None or isinstance(messages, int | float):
        raise _not_iterable(messages)
    for message in cast("list[object]", messages) if isinstance(messages, list) else ():
        calls = cast("Mapping[str, object]", message).get("tool_calls") if isinstance(message, dict) else None
        if isinstance(calls, int | float):
            raise _not_iterable(calls)


def _check_tools(conversation: Mapping[str, object]) -> None:
    tools, choice = conversation.get("tools"), conversation.get("tool_choice")
    if tools == []:
        raise _refused(
            "`tools` must not be an empty array. "
            "Either provide at least one tool or omit the field entirely.",
            "tools",
        )
    if choice is not None and choice != "none" and tools is None:
        raise _refused("When using `tool_choice`, `tools` must be set.", "tool_choice")


def _check_logprobs(conversation: Mapping[str, object]) -> None:
    for name in _LOGPROBS:
        value = conversation.get(name)
        if value is not None and not isinstance(value, int | float):
            raise _refused(f"`{name}` must be an integer.", name, value=value)
    for name in _LOGPROBS:
        _check_number(conversation, name)


def _check_number(conversation: Mapping[str, object], name: str) -> None:
    value = conversation.get(name)
    if not isinstance(value, int | float):
        return
    wanted = value > 0 or value == _ALL
    if name == "prompt_logprobs" and wanted and conversation.get("stream"):
        raise _refused("`prompt_logprobs` are not available when `stream=True`.", name)
    if value < 0 and not wanted:
        raise _refused(f"`{name}` must be a positive value or -1.", name, value=value)
    if name == "top_logprobs" and wanted and not conversation.get("logprobs"):
        raise _refused("when using `top_logprobs`, `logprobs` must be set to true.", name)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in cast("list[object]", value))


def _not_iterable(value: object) -> Refusal:
    words = f"{type(value).__name__!r} object is not iterable"
    return Refusal(HTTPStatus.BAD_REQUEST, words, kind=_KIND)


def _refused(message: str, parameter: str, *, value: object = None) -> Refusal:
    shown = f"parameter={parameter}" if value is None else f"parameter={parameter}, value={value}"
    return Refusal(HTTPStatus.BAD_REQUEST, f"{message} ({shown})", param=parameter, kind=_KIND)
