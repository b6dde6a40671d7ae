"""Serve the OpenAI images API of one user: each request is a batch, which outlives the connection."""

from __future__ import annotations

import functools
import logging
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response
from vllm_image_core.errors import ImageError
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.openai_api.errors import error_reply
from vllm_image_mcp.openai_api.replies import images_reply, model_reply, models_reply
from vllm_image_mcp.openai_api.request_body import parse_edit, parse_generation
from vllm_image_mcp.openai_api.translation import UnknownModel, translate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.server import MCPServer
    from starlette.requests import Request

    from vllm_image_mcp.jobs.batch_monitor import BatchMonitor
    from vllm_image_mcp.openai_api.request_body import ParsedBody
    from vllm_image_mcp.state import State

_logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.5
"""How often it is checked whether the client is still connected."""

_CLIENT_GONE: Final = 499
"""nginx's status for a client that closed the connection; nobody reads it."""


def add_openai_routes(server: MCPServer[State], state: State, *, link: Callable[[Request, str], str]) -> None:
    """Add the routes of the OpenAI images API to the server of a user.

    Args:
        server: The user's server.
        state: The user's state.
        link: Returns a URL, for the client of a request, of the image file with this name.
    """
    api = OpenAIImages(state, link)
    for path, method, handler in (
        ("/v1/images/generations", "POST", api.generate),
        ("/v1/images/edits", "POST", api.edit),
        ("/v1/models", "GET", api.list_models),
        ("/v1/models/{name:path}", "GET", api.retrieve_model),
    ):
        server.custom_route(path, methods=[method])(_with_errors(handler))


class OpenAIImages:
    """The OpenAI images API over one user's state."""

    def __init__(self, state: State, link: Callable[[Request, str], str]) -> None:
        self._state = state
        self._link = link

    async def generate(self, request: Request) -> Response:
        """Answer `POST /v1/images/generations`."""
        with self._observed("images.generate"):
            return await self._make(request, await parse_generation(request))

    async def edit(self, request: Request) -> Response:
        """Answer `POST /v1/images/edits`."""
        with self._observed("images.edit"):
            return await self._make(request, await parse_edit(request))

    async def list_models(self, _: Request) -> Response:
        """Answer `GET /v1/models`."""
        return JSONResponse(models_reply(await self._state.studio.model()))

    async def retrieve_model(self, request: Request) -> Response:
        """Answer `GET /v1/models/{name}`."""
        model = await self._state.studio.model()
        if request.path_params["name"] != model.name:
            raise UnknownModel(f"This model is not loaded. The server has {model.name}.")
        return JSONResponse(model_reply(model))

    async def _make(self, request: Request, parsed: ParsedBody) -> Response:
        state = self._state
        state.check_folder()
        translation = await translate(parsed, state.studio)
        batch = state.studio.batch([translation.request], count=translation.count)
        monitor = await state.tracker.begin(batch)
        if not await self._wait(request, monitor):
            return Response(status_code=_CLIENT_GONE)
        if monitor.fault is not None:
            raise monitor.fault
        if not monitor.saved:
            error = next(iter(monitor.errors.values()), None) or batch.trouble
            await batch.cancel()  # the caller sees an error and may call again: no image is made twice
            raise error or ImageError("The image was cancelled before it was finished.")
        return await images_reply(monitor, translation, parsed.body, functools.partial(self._link, request))

    async def _wait(self, request: Request, monitor: BatchMonitor) -> bool:
        """Wait until a batch is over or cannot go on; return whether the client is still connected."""
        while not monitor.over and not monitor.batch.trouble:
            await monitor.wait_for_change(_LOOK_SECONDS)
            if await request.is_disconnected():
                self._state.tracker.wind_down(monitor)
                return False
        return True

    def _observed(self, operation: str) -> AbstractContextManager[None]:
        observer = self._state.observer
        return nullcontext() if observer is None else observer.call(operation)


def _with_errors(
    handler: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Answer errors in OpenAI's shape."""

    @functools.wraps(handler)
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except (ImageError, OmniError) as error:
            return error_reply(error)
        except Exception as error:  # a boundary: the client learns that there was an error, the log which
            _logger.exception("A request of the OpenAI images API failed")
            return error_reply(error)

    return handle
