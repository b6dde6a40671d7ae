"""The server's routes for text, sound and video, and what it answers there when its model only draws.

Seen on vLLM-Omni 0.30.0 with FLUX.2-klein. Some are not made for such a model, and break.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, cast

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vllm_omni_client.simulator import other_requests as bodies
from vllm_omni_client.simulator.body import (
    read_conversation,
    read_either,
    read_form,
    read_json,
    read_plain_json,
    read_plain_text,
)
from vllm_omni_client.simulator.chat_request import BatchChatRequest
from vllm_omni_client.simulator.condition import Condition
from vllm_omni_client.simulator.conversation import as_error
from vllm_omni_client.simulator.refusal import Crash, Refusal
from vllm_omni_client.simulator.release import Release
from vllm_omni_client.simulator.videos import Videos

Endpoint = Callable[[Request], Awaitable[Response]]
_KIND: Final = "BadRequestError"
_NO_BATCH: Final = "'State' object has no attribute 'openai_serving_chat_batch'"
_NO_TOKENS: Final = "'State' object has no attribute 'serving_tokens'"
_NO_VOICES: Final = "'NoneType' object has no attribute 'create_error_response'"
_COMPLETION: Final = "'State' object has no attribute 'openai_serving_completion'"
_RESPONSES: Final = "'State' object has no attribute 'openai_serving_responses'"
_MESSAGES: Final = "'State' object has no attribute 'anthropic_serving_messages'"
_SCORING: Final = "'State' object has no attribute 'serving_generative_scoring'"


def other_tasks(
    condition: Condition, release: Release, *, minds_blank_prompts: bool
) -> tuple[tuple[str, str, Endpoint], ...]:
    """The routes: method, path, and what is answered.

    Of two for one path, the first one's method is named to whoever tries a third.
    """
    videos = Videos(condition, release)
    routes: tuple[tuple[str, str, Endpoint], ...] = (
        ("POST", "/tokenize", _tokenize(release)),
        ("POST", "/detokenize", _detokenize(release)),
        ("POST", "/invocations", _invoke),
        ("POST", "/v1/responses", _respond(release)),
        ("GET", "/v1/responses/{response_id}", _crash(_RESPONSES)),
        ("POST", "/v1/responses/{response_id}/cancel", _crash(_RESPONSES)),
        ("POST", "/v1/completions", _complete(release)),
        ("POST", "/v1/messages", _crash(_MESSAGES, bodies.Converse)),
        ("POST", "/v1/messages/count_tokens", _crash(_MESSAGES, bodies.CountTokens)),
        ("POST", "/generative_scoring", _score),
        ("POST", "/scale_elastic_ep", _scale),
        ("POST", "/is_scaling_elastic_ep", _told({"is_scaling_elastic_ep": False})),
        ("POST", "/v1/chat/completions/render", _render("Chat Completions", bodies.RenderConversation)),
        ("POST", "/v1/completions/render", _render("Completions", bodies.Complete, release)),
        ("POST", "/v1/chat/completions/derender", _render("Chat Completions", bodies.DerenderConversation)),
        ("POST", "/v1/completions/derender", _render("Completions", bodies.Derender)),
        ("POST", "/inference/v1/generate", _crash(_NO_TOKENS, bodies.Generate)),
        ("POST", "/v1/chat/completions/batch", _no_batch(release)),
        ("POST", "/v1/audio/speech", _speech(release, minds_blank_prompts=minds_blank_prompts)),
        ("POST", "/v1/audio/speech/batch", _speak_much),
        ("POST", "/v1/audio/generate", _sound(condition)),
        ("GET", "/v1/audio/voices", _told({"voices": list(release.voices), "uploaded_voices": []})),
        ("POST", "/v1/audio/voices", _add_voice(release)),
        ("DELETE", "/v1/audio/voices/{name}", _delete_voice(release)),
        ("POST", "/v1/realtime/sessions", _session(bodies.Session)),
        ("POST", "/v1/realtime/sessions/{session_id}/step", _session(bodies.Step)),
        ("POST", "/v1/realtime/sessions/{session_id}/reset", _session()),
        ("POST", "/v1/realtime/sessions/{session_id}/close", _session()),
        ("GET", "/v1/realtime/sessions/{session_id}/status", _session()),
        ("POST", "/v1/videos", videos.create),
        ("POST", "/v1/videos/sync", videos.create_now),
        ("GET", "/v1/videos", videos.show_all),
        ("GET", "/v1/videos/{video_id}", videos.show),
        ("DELETE", "/v1/videos/{video_id}", videos.delete),
        ("GET", "/v1/videos/{video_id}/content", videos.content),
    )
    lacking = release.lacks_routes | (
        {"/v1/chat/completions/batch"} if release.chats_in_batches in {"no", "yes"} else set[str]()
    )
    return tuple(
        (method, path, _worded(endpoint, release)) for method, path, endpoint in routes if path not in lacking
    )


def _worded(endpoint: Endpoint, release: Release) -> Endpoint:
    """The endpoint, its refusals as replies; a crash passes through."""

    async def worded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Crash:
            raise
        except Refusal as refusal:
            return refusal.response(release, path=request.url.path, method=request.method)

    return worded


def _told(answer: Mapping[str, object]) -> Endpoint:
    async def told(_: Request) -> Response:
        return JSONResponse(answer)

    return told


def _crash(message: str, model: type[BaseModel] | None = None) -> Endpoint:
    async def crash(request: Request) -> Response:
        if model is not None:
            await read_plain_json(request, model)
        raise Crash(message)

    return crash


def _render(what: str, model: type[BaseModel], release: Release | None = None) -> Endpoint:
    async def render(request: Request) -> Response:
        if release is None:
            await read_plain_json(request, model)
        else:
            await _check_prompt(request, release)
        message = f"The model does not support {what} Render API"
        raise Refusal(HTTPStatus.NOT_IMPLEMENTED, message, kind="NotImplementedError")

    return render


def _no_batch(release: Release) -> Endpoint:
    async def refuse(request: Request) -> Response:
        if release.chats_in_batches == "crash":
            await read_conversation(request, BatchChatRequest, release)
            raise Crash(_NO_BATCH)
        message = "Batched chat completions are not yet supported by vLLM Omni."
        raise Refusal(HTTPStatus.BAD_REQUEST, message, kind=_KIND)

    return refuse


def _session(model: type[BaseModel] | None = None) -> Endpoint:
    async def session(request: Request) -> Response:
        if model is not None:
            await read_json(request, model)
        raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "RL rollout serving not available for this model.")

    return session


async def _check_object(request: Request, release: Release) -> None:
    """Break as an older server does that takes every body for an object unseen."""
    if release.body_rules == "own_words":
        return
    try:
        document: object = json.loads(await read_plain_text(request))
    except ValueError:
        return  # told by whoever reads it next
    if document is not None and not isinstance(document, dict):
        raise Crash(f"{type(document).__name__!r} object has no attribute 'get'")


def _tokenize(release: Release) -> Endpoint:
    async def tokenize(request: Request) -> Response:
        await _check_object(request, release)
        place = release.tokenize_place
        await read_either(request, bodies.Tokenize, bodies.TokenizeConversation, within=place)
        raise Crash("'NoneType' object has no attribute 'create_tokenize'")

    return tokenize


def _detokenize(release: Release) -> Endpoint:
    async def detokenize(request: Request) -> Response:
        await read_plain_json(request, bodies.Detokenize)
        message = "'NoneType' object has no attribute 'create_detokenize'"
        if release.detokenize_is_caught:
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, message)
        raise Crash(message)

    return detokenize


async def _check_prompt(request: Request, release: Release) -> None:
    """Whether there is a prompt to complete."""
    await _check_object(request, release)
    wanted = await read_plain_json(request, bodies.Complete)
    if wanted.prompt is not None or wanted.prompt_embeds is not None:
        return
    message = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
    refusal = Refusal(HTTPStatus.BAD_REQUEST, message, param="prompt", kind=_KIND)
    if release.body_rules == "own_words":
        raise refusal
    raise as_error(refusal, await request.json(), named="prompt" in release.rules_named)


def _complete(release: Release) -> Endpoint:
    async def complete(request: Request) -> Response:
        await _check_prompt(request, release)
        raise Crash(_COMPLETION)

    return complete


def _respond(release: Release) -> Endpoint:
    first = ("tool_choice", "none") if release.text_reads_tool_choice else ("_", None)

    async def respond(request: Request) -> Response:
        wanted = await read_plain_json(request, bodies.Respond, first=first)
        if wanted.prompt is not None:
            message = "prompt template is not supported (parameter=prompt)"
            raise Refusal(HTTPStatus.BAD_REQUEST, message, param="prompt", kind=_KIND)
        raise Crash(_RESPONSES)

    return respond


async def _score(request: Request) -> Response:
    await read_plain_text(request)
    raise Crash(_SCORING)


async def _invoke(request: Request) -> Response:
    text = await read_plain_text(request)
    try:
        document: object = json.loads(text)
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"JSON decode error: {error}") from error
    if isinstance(document, list):
        message = "list indices must be integers or slices, not str"
        raise Refusal(HTTPStatus.BAD_REQUEST, message, kind=_KIND)
    raise Crash(_COMPLETION)


async def _scale(request: Request) -> Response:
    text = await read_plain_text(request)
    try:
        document: object = json.loads(text)
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "Invalid JSON format") from error
    if not isinstance(document, dict):
        raise Crash(f"{type(document).__name__!r} object has no attribute 'get'")
    given = cast("Mapping[str, object]", document)
    size, drain = given.get("new_data_parallel_size"), given.get("drain_timeout", 1)
    if size is None:
        raise Refusal(HTTPStatus.BAD_REQUEST, "new_data_parallel_size is required")
    for name, value in (("new_data_parallel_size", size), ("drain_timeout", drain)):
        if not isinstance(value, int) or value <= 0:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} must be a positive integer")
    raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "Scale failed")


def _speech(release: Release, *, minds_blank_prompts: bool) -> Endpoint:
    voices = ", ".join(release.voices) or "none"

    async def speak(request: Request) -> Response:
        wanted = await read_plain_json(request, bodies.Speak)
        if not wanted.input.strip():
            raise Refusal(HTTPStatus.BAD_REQUEST, "Input text cannot be empty", kind=_KIND)
        if wanted.voice is not None and wanted.voice not in release.voices:
            message = f"Invalid voice '{wanted.voice}'. Supported: {voices}"
            raise Refusal(HTTPStatus.BAD_REQUEST, message, kind=_KIND)
        if not minds_blank_prompts:
            raise Refusal(HTTPStatus.BAD_REQUEST, "TTS model did not produce audio output.", kind=_KIND)
        message = "Speech generation failed: `prompt` cannot be empty or whitespace-only."
        raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, message, kind="server_error")

    return speak


async def _speak_much(request: Request) -> Response:
    await read_plain_json(request, bodies.SpeakMuch)
    raise Refusal(HTTPStatus.BAD_REQUEST, "Batch speech is not supported in diffusion mode")


def _sound(condition: Condition) -> Endpoint:
    async def sound(request: Request) -> Response:
        wanted = await read_plain_json(request, bodies.Sound)
        if wanted.model not in {None, *condition.names}:
            message = "argument of type '_Unsupported' is not iterable"
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, message)
        message = "Audio generation model did not produce audio output."
        raise Refusal(HTTPStatus.BAD_REQUEST, message, kind=_KIND)

    return sound


def _add_voice(release: Release) -> Endpoint:
    async def add(request: Request) -> Response:
        await read_form(request, bodies.Voice)
        if release.voice_errors != "told":
            raise Crash(_NO_VOICES)
        message = "Either 'audio_sample' or 'speaker_embedding' must be provided"
        raise Refusal(HTTPStatus.BAD_REQUEST, message, kind=_KIND)

    return add


def _delete_voice(release: Release) -> Endpoint:
    async def delete(request: Request) -> Response:
        message = f"Voice '{request.path_params['name']}' not found"
        match release.voice_errors:
            case "crash":
                raise Crash(_NO_VOICES)
            case "crash_or_found":
                told = {"success": False, "error": message}
                return JSONResponse(told, status_code=HTTPStatus.NOT_FOUND)
            case "told":
                raise Refusal(HTTPStatus.NOT_FOUND, message, kind="NotFoundError")

    return delete
