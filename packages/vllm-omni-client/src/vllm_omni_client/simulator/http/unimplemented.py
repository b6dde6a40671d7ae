"""Answer 501 on the server's routes for chat, text, audio and video, which are not simulated."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vllm_omni_client.simulator.http.http_error import HttpError
from vllm_omni_client.simulator.http.openapi import Operation
from vllm_omni_client.simulator.http.release import Release

Endpoint = Callable[[Request], Awaitable[Response]]

_OPERATIONS: Final = (
    ((0, 14), Operation("POST", "/v1/chat/completions", "create_chat_completion", (400, 404, 500, 422))),
    (
        (0, 20),
        Operation(
            "POST", "/v1/chat/completions/batch", "create_batch_chat_completion", (400, 404, 500, 501, 422)
        ),
    ),
    ((0, 20), Operation("POST", "/tokenize", "tokenize", (400, 404, 500, 501, 422))),
    ((0, 20), Operation("POST", "/detokenize", "detokenize", (400, 404, 500, 422))),
    ((0, 20), Operation("POST", "/invocations", "decorated_func", (400, 415, 500))),
    ((0, 20), Operation("POST", "/v1/responses", "create_responses", (400, 404, 500, 422))),
    ((0, 20), Operation("GET", "/v1/responses/{response_id}", "retrieve_responses", (422,))),
    ((0, 20), Operation("POST", "/v1/responses/{response_id}/cancel", "cancel_responses", (422,))),
    ((0, 20), Operation("POST", "/v1/completions", "create_completion", (400, 404, 500, 422))),
    ((0, 20), Operation("POST", "/v1/messages", "create_messages", (400, 404, 500, 422))),
    ((0, 20), Operation("POST", "/v1/messages/count_tokens", "count_tokens", (400, 404, 500, 422))),
    ((0, 20), Operation("POST", "/generative_scoring", "create_generative_scoring", (400, 500))),
    ((0, 20), Operation("POST", "/scale_elastic_ep", "scale_elastic_ep", (400, 408, 500))),
    ((0, 20), Operation("POST", "/is_scaling_elastic_ep", "is_scaling_elastic_ep", ())),
    ((0, 20), Operation("POST", "/v1/audio/speech", "create_speech", (400, 404, 500, 422))),
    ((0, 20), Operation("POST", "/v1/audio/speech/batch", "create_speech_batch", (400, 404, 500, 422))),
    ((0, 20), Operation("POST", "/v1/audio/generate", "create_audio_generate", (400, 404, 500, 422))),
    ((0, 20), Operation("GET", "/v1/audio/voices", "list_voices", (400, 404, 500))),
    ((0, 20), Operation("POST", "/v1/audio/voices", "upload_voice", (400, 404, 500, 422))),
    ((0, 20), Operation("DELETE", "/v1/audio/voices/{name}", "delete_voice", (400, 404, 500, 422))),
    ((0, 30), Operation("POST", "/v1/realtime/sessions", "create_rollout_session", (422,))),
    ((0, 30), Operation("POST", "/v1/realtime/sessions/{session_id}/step", "rollout_step", (422,))),
    ((0, 30), Operation("POST", "/v1/realtime/sessions/{session_id}/reset", "reset_rollout_session", (422,))),
    ((0, 30), Operation("POST", "/v1/realtime/sessions/{session_id}/close", "close_rollout_session", (422,))),
    (
        (0, 30),
        Operation("GET", "/v1/realtime/sessions/{session_id}/status", "rollout_session_status", (422,)),
    ),
    ((0, 20), Operation("POST", "/v1/videos", "create_video", (400, 503, 500, 422))),
    ((0, 20), Operation("POST", "/v1/videos/sync", "create_video_sync", (400, 503, 500, 422))),
    ((0, 20), Operation("GET", "/v1/videos", "list_videos", (422,))),
    ((0, 20), Operation("GET", "/v1/videos/{video_id}", "retrieve_video", (422,))),
    ((0, 20), Operation("DELETE", "/v1/videos/{video_id}", "delete_video", (422,))),
    ((0, 20), Operation("GET", "/v1/videos/{video_id}/content", "download_video", (422,))),
)
"""Each operation, with the first release known to have it.

If a path has two methods, the reply to a third names the first of them.
"""
_GONE: Final = (0, 30)
_FORMER_OPERATIONS: Final = (
    ((0, 20), Operation("POST", "/inference/v1/generate", "generate", (400, 404, 500, 422))),
    (
        (0, 20),
        Operation("POST", "/v1/chat/completions/render", "render_chat_completion", (400, 404, 501, 500, 422)),
    ),
    ((0, 20), Operation("POST", "/v1/completions/render", "render_completion", (400, 404, 500, 422))),
    (
        (0, 26),
        Operation("POST", "/v1/chat/completions/derender", "derender_chat_completion", (400, 404, 500, 422)),
    ),
    ((0, 26), Operation("POST", "/v1/completions/derender", "derender_completion", (400, 404, 500, 422))),
)
"""Routes that exist only in the releases before `_GONE`."""


def unimplemented_routes(release: Release) -> tuple[tuple[Operation, Endpoint], ...]:
    """Return the unimplemented routes of a release, with their endpoints.

    There are never any videos here, so the routes that show videos answer like a server without any. All
    others answer 501 and name the routes that are implemented.
    """
    former = _FORMER_OPERATIONS if release.version < _GONE else ()
    return tuple(
        (operation, _endpoint(operation.method, operation.path, release))
        for since, operation in (*_OPERATIONS, *former)
        if since <= release.version
    )


def _endpoint(method: str, path: str, release: Release) -> Endpoint:
    if (method, path) == ("GET", "/v1/videos"):
        return _show_no_videos
    if path.startswith("/v1/videos/{"):
        return _refusing(release, HTTPStatus.NOT_FOUND, "Video not found")
    return _refusing(
        release,
        HTTPStatus.NOT_IMPLEMENTED,
        f"This simulator serves the image API only and does not implement {method} {path}. "
        "Use POST /v1/images/generations or POST /v1/images/edits, "
        "or send this request to a real vLLM-Omni server.",
    )


def _refusing(release: Release, status: HTTPStatus, message: str) -> Endpoint:
    # An explicit type keeps the message unchanged: it contains no file path to hide.
    async def refuse(_: Request) -> Response:
        return HttpError(status, message, kind=status.phrase).response(release)

    return refuse


async def _show_no_videos(_: Request) -> Response:
    nothing: Mapping[str, object] = {
        "first_id": None,
        "last_id": None,
        "has_more": False,
        "data": [],
        "object": "list",
    }
    return JSONResponse(nothing)
