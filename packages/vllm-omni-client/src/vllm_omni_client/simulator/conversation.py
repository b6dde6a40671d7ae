"""The rules of a conversation that go before the types of its fields; most are about language models."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, cast

from vllm_omni_client.simulator.refusal import Complaint, Crash, Refusal
from vllm_omni_client.simulator.release import Release

_KIND: Final = "BadRequestError"
_LOGPROBS: Final = ("prompt_logprobs", "top_logprobs")
_ALL: Final = -1


class VLLMValidationError(ValueError):
    """The server's own class, whose name stands in its messages."""


_MESSAGE_KINDS: Final = (
    *("ChatCompletionDeveloperMessageParam", "ChatCompletionSystemMessageParam"),
    *("ChatCompletionUserMessageParam", "ChatCompletionAssistantMessageParam"),
    *("ChatCompletionToolMessageParam", "ChatCompletionFunctionMessageParam"),
    "CustomChatCompletionMessageParam",
)


def check_conversation(document: object, release: Release, *, batch: bool = False) -> None:
    """Whether the server goes on to look at the fields.

    Source: the validators of `ChatCompletionRequest` in vLLM 0.30.0, the last of which runs first.

    Args:
        document: The body.
        release: In whose words.
        batch: Whether it has several conversations.

    Raises:
        Refusal: In its words.
    """
    if not isinstance(document, dict):
        if document is not None and release.body_rules == "as_errors":
            raise Crash(f"{type(document).__name__!r} object has no attribute 'get'")
        return
    conversation = cast("Mapping[str, object]", document)
    try:
        _check_rules(conversation, release)
    except Refusal as refusal:
        if release.body_rules == "as_errors" and refusal.param is not None:
            named = refusal.param in release.rules_named
            raise as_error(refusal, conversation, named=named) from refusal
        raise
    if not release.routes_messages_by_role and not batch:
        _check_kinds(conversation.get("messages"))


def as_error(refusal: Refusal, document: Mapping[str, object], *, named: bool) -> Complaint:
    """A broken rule of a body, as one of the errors of the schema.

    Args:
        refusal: The rule, in its own words.
        document: The body.
        named: Whether it names its parameter.
    """
    words = refusal.message.partition(" (parameter=")[0]
    told = refusal.message if named else words
    error: dict[str, object] = {
        "type": "value_error",
        "loc": ("body",),
        "msg": f"Value error, {told}",
        "input": document,
        "ctx": {"error": VLLMValidationError(words) if named else ValueError(words)},
    }
    return Complaint([error], rule=refusal.param if named else None)


def _check_kinds(messages: object) -> None:
    """A message that is no object, which older servers hold against each kind of message.

    Of content that is a number they tell more than what stands here.
    """
    for place, message in enumerate(cast("list[object]", messages) if isinstance(messages, list) else ()):
        if isinstance(message, dict):
            content = cast("Mapping[str, object]", message).get("content")
            if isinstance(content, int | float):
                where = ("body", "messages", place, _MESSAGE_KINDS[0], "content", "str")
                wrong = "Input should be a valid string"
                raise Complaint([{"type": "string_type", "loc": where, "msg": wrong, "input": content}])
            continue
        place_in_body = ("body", "messages", place)
        wrong = "Input should be a valid dictionary"
        errors = [
            {"type": "dict_type", "loc": (*place_in_body, kind), "msg": wrong, "input": message}
            for kind in _MESSAGE_KINDS
        ]
        last = {
            "type": "model_attributes_type",
            "loc": (*place_in_body, "Message"),
            "msg": f"{wrong} or object to extract fields from",
            "input": message,
        }
        raise Complaint([*errors, last])


def _check_rules(conversation: Mapping[str, object], release: Release) -> None:
    _check_iterable(conversation)
    _check_tools(conversation)
    _check_logprobs(conversation, release)
    if conversation.get("stream_options") and not conversation.get("stream"):
        raise _refused("Stream options can only be defined when `stream=True`.", "stream_options")
    salt = conversation.get("cache_salt")
    if salt is not None and not (isinstance(salt, str) and salt):
        raise _refused("Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt")


def check_read_conversation(conversation: Mapping[str, object], release: Release) -> None:
    """What vLLM-Omni itself refuses of a conversation that fits the schema.

    Raises:
        Refusal: In its words.
    """
    modalities, logprobs = conversation.get("modalities"), conversation.get("logprobs")
    if "modalities" in release.checks_in_chat and modalities is not None and not _are_texts(modalities):
        message = 'modalities must be a list of strings, e.g. ["text", "audio", "image"]'
        raise Refusal(HTTPStatus.BAD_REQUEST, message)
    if "logprobs" in release.checks_in_chat and logprobs is not None and not isinstance(logprobs, bool):
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


def _check_logprobs(conversation: Mapping[str, object], release: Release) -> None:
    for name in _LOGPROBS:
        value = conversation.get(name)
        if value is not None and not isinstance(value, int | float):
            if release.body_rules == "as_errors":
                words = f"'<' not supported between instances of {type(value).__name__!r} and 'int'"
                raise Refusal(HTTPStatus.BAD_REQUEST, words, kind=_KIND)
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
