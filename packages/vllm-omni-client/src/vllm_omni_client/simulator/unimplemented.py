"""The server's routes for conversations, text, audio and video: known here and not implemented."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vllm_omni_client.simulator.refusal import Refusal
from vllm_omni_client.simulator.release import Release

Endpoint = Callable[[Request], Awaitable[Response]]

_ROUTES: Final[tuple[tuple[tuple[int, int], str, str], ...]] = (
    ((0, 14), "POST", "/v1/chat/completions"),
    ((0, 30), "POST", "/v1/chat/completions/batch"),
    ((0, 30), "POST", "/tokenize"),
    ((0, 30), "POST", "/detokenize"),
    ((0, 30), "POST", "/invocations"),
    ((0, 30), "POST", "/v1/responses"),
    ((0, 30), "GET", "/v1/responses/{response_id}"),
    ((0, 30), "POST", "/v1/responses/{response_id}/cancel"),
    ((0, 30), "POST", "/v1/completions"),
    ((0, 30), "POST", "/v1/messages"),
    ((0, 30), "POST", "/v1/messages/count_tokens"),
    ((0, 30), "POST", "/generative_scoring"),
    ((0, 30), "POST", "/scale_elastic_ep"),
    ((0, 30), "POST", "/is_scaling_elastic_ep"),
    ((0, 30), "POST", "/v1/audio/speech"),
    ((0, 30), "POST", "/v1/audio/speech/batch"),
    ((0, 30), "POST", "/v1/audio/generate"),
    ((0, 30), "GET", "/v1/audio/voices"),
    ((0, 30), "POST", "/v1/audio/voices"),
    ((0, 30), "DELETE", "/v1/audio/voices/{name}"),
    ((0, 30), "POST", "/v1/realtime/sessions"),
    ((0, 30), "POST", "/v1/realtime/sessions/{session_id}/step"),
    ((0, 30), "POST", "/v1/realtime/sessions/{session_id}/reset"),
    ((0, 30), "POST", "/v1/realtime/sessions/{session_id}/close"),
    ((0, 30), "GET", "/v1/realtime/sessions/{session_id}/status"),
    ((0, 20), "POST", "/v1/videos"),
    ((0, 30), "POST", "/v1/videos/sync"),
    ((0, 20), "GET", "/v1/videos"),
    ((0, 20), "GET", "/v1/videos/{video_id}"),
    ((0, 20), "DELETE", "/v1/videos/{video_id}"),
    ((0, 20), "GET", "/v1/videos/{video_id}/content"),
)
"""The release that is known to have a route, its method and its path.

Of two methods for one path, the first is the one that is named to whoever tries a third.
"""


def unimplemented_routes(release: Release) -> tuple[tuple[str, str, Endpoint], ...]:
    """The routes of a release that are not implemented: method, path, and what answers there.

    As nothing here makes a video, the routes that show videos say what a server without any says; all others
    answer 501 and name what is implemented.
    """
    return tuple(
        (method, path, _endpoint(method, path, release))
        for since, method, path in _ROUTES
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
    # A type of its own keeps the message as it is: there is no path of a machine to be hidden in it.
    async def refuse(_: Request) -> Response:
        return Refusal(status, message, kind=status.phrase).response(release)

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
