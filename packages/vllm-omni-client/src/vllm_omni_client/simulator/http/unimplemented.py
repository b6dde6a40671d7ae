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

_TABLE: Final = """
0.14 -    POST   /v1/chat/completions                      create_chat_completion       400 404 500 422
0.20 -    POST   /v1/chat/completions/batch                create_batch_chat_completion 400 404 500 501 422
0.20 -    POST   /tokenize                                 tokenize                     400 404 500 501 422
0.20 -    POST   /detokenize                               detokenize                   400 404 500 422
0.20 -    POST   /invocations                              decorated_func               400 415 500
0.20 -    POST   /v1/responses                             create_responses             400 404 500 422
0.20 -    GET    /v1/responses/{response_id}               retrieve_responses           422
0.20 -    POST   /v1/responses/{response_id}/cancel        cancel_responses             422
0.20 -    POST   /v1/completions                           create_completion            400 404 500 422
0.20 -    POST   /v1/messages                              create_messages              400 404 500 422
0.20 -    POST   /v1/messages/count_tokens                 count_tokens                 400 404 500 422
0.20 -    POST   /generative_scoring                       create_generative_scoring    400 500
0.20 -    POST   /scale_elastic_ep                         scale_elastic_ep             400 408 500
0.20 -    POST   /is_scaling_elastic_ep                    is_scaling_elastic_ep
0.20 -    POST   /v1/audio/speech                          create_speech                400 404 500 422
0.20 -    POST   /v1/audio/speech/batch                    create_speech_batch          400 404 500 422
0.20 -    POST   /v1/audio/generate                        create_audio_generate        400 404 500 422
0.20 -    GET    /v1/audio/voices                          list_voices                  400 404 500
0.20 -    POST   /v1/audio/voices                          upload_voice                 400 404 500 422
0.20 -    DELETE /v1/audio/voices/{name}                   delete_voice                 400 404 500 422
0.30 -    POST   /v1/realtime/sessions                     create_rollout_session       422
0.30 -    POST   /v1/realtime/sessions/{session_id}/step   rollout_step                 422
0.30 -    POST   /v1/realtime/sessions/{session_id}/reset  reset_rollout_session        422
0.30 -    POST   /v1/realtime/sessions/{session_id}/close  close_rollout_session        422
0.30 -    GET    /v1/realtime/sessions/{session_id}/status rollout_session_status       422
0.20 -    POST   /v1/videos                                create_video                 400 503 500 422
0.20 -    POST   /v1/videos/sync                           create_video_sync            400 503 500 422
0.20 -    GET    /v1/videos                                list_videos                  422
0.20 -    GET    /v1/videos/{video_id}                     retrieve_video               422
0.20 -    DELETE /v1/videos/{video_id}                     delete_video                 422
0.20 -    GET    /v1/videos/{video_id}/content             download_video               422
0.20 0.30 POST   /inference/v1/generate                    generate                     400 404 500 422
0.20 0.30 POST   /v1/chat/completions/render               render_chat_completion       400 404 501 500 422
0.20 0.30 POST   /v1/completions/render                    render_completion            400 404 500 422
0.26 0.30 POST   /v1/chat/completions/derender             derender_chat_completion     400 404 500 422
0.26 0.30 POST   /v1/completions/derender                  derender_completion          400 404 500 422
"""
"""The first release known to have an operation, the first without it, and the operation.

If a path has two methods, the reply to a third names the first of them.
"""


def unimplemented_routes(release: Release) -> tuple[tuple[Operation, Endpoint], ...]:
    """Return the unimplemented routes of a release, with their endpoints.

    There are never any videos here, so the routes that show videos answer like a server without any. All
    others answer 501 and name the routes that are implemented.
    """
    routes: list[tuple[Operation, Endpoint]] = []
    for line in _TABLE.strip().splitlines():
        since, until, method, path, name, *errors = line.split()
        if _version(since) <= release.version and (until == "-" or release.version < _version(until)):
            operation = Operation(method, path, name, tuple(map(int, errors)))
            routes.append((operation, _endpoint(method, path, release)))
    return tuple(routes)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


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
