"""Serve the gallery of a folder to this machine's browser, and store the ratings made there.

Other pages in the browser and other programs cannot use it: each address begins with a random token that
appears only in the printed one, and Host and Origin must be the server's own.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import socket
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from vllm_image_core.errors import ImageError
from vllm_image_core.gallery.page import THUMBNAILS, served_gallery
from vllm_image_core.imaging.extension import FORMATS
from vllm_image_core.storage.database import FOLDER
from vllm_image_core.storage.verdicts import BIN, Opinion, Verdicts

from vllm_image_mcp.error_messages import sentence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request

_LOOPBACK: Final = "127.0.0.1"
_CHANGES: Final = frozenset({"verdict", "stars", "tag"})
_MOST_BYTES: Final = 10_000
"""Limit on one decision."""

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class GalleryServer:
    """Serves the gallery of one folder.

    Args:
        folder: The folder of the images, absolute.
        port: The port to listen on; 0 for any free one.

    Attributes:
        url: The address of the page, with its token.
        listener: The socket on which it listens from now on.

    Raises:
        OSError: The port cannot be used.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._folder = folder
        self._verdicts = Verdicts(folder)
        self.listener: socket.socket = socket.create_server((_LOOPBACK, port))
        self._port = self.listener.getsockname()[1]
        self._token = secrets.token_urlsafe(24)
        self.url: str = f"http://{_LOOPBACK}:{self._port}/{self._token}/"

    def run(self) -> None:
        """Serve until the process is interrupted."""
        config = uvicorn.Config(
            self.app(),
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[self.listener])

    def close(self) -> None:
        """Give the port back without having served."""
        self.listener.close()

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route("/{token}/", self._guarded(self._page), methods=["GET"]),
            Route("/{token}/opinion", self._guarded(self._opinion), methods=["POST"]),
            Route("/{token}/{path:path}", self._guarded(self._image), methods=["GET"]),
        ]
        app = Starlette(routes=routes)
        app.router.redirect_slashes = False
        return app

    def _guarded(self, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Check who is asking before anything is answered."""

        async def check(request: Request) -> Response:
            hosts = {f"{name}:{self._port}" for name in (_LOOPBACK, "localhost")}
            origin = request.headers.get("origin")
            is_ours = request.headers.get("host") in hosts and (
                origin is None or origin.removeprefix("http://") in hosts
            )
            token = str(request.path_params["token"])
            if not (is_ours and hmac.compare_digest(token.encode(), self._token.encode())):
                return PlainTextResponse("Not found.", status_code=404)
            response: Response = await answer(request)
            response.headers.update(_HEADERS)
            return response

        return check

    async def _page(self, _: Request) -> Response:
        try:
            page = await asyncio.to_thread(served_gallery, self._folder)
        except ImageError as error:
            return PlainTextResponse(sentence(error), status_code=500)
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    async def _image(self, request: Request) -> Response:
        """Send an image or a thumbnail; nothing else of the folder can be read."""
        folder = self._folder.resolve()
        path = (folder / str(request.path_params["path"])).resolve()
        inside = path.relative_to(folder).parts if path.is_relative_to(folder) else (".",)
        is_hidden = any(part.startswith(".") for part in inside)
        is_thumbnail = inside[:2] == (FOLDER, THUMBNAILS)
        if (is_hidden and not is_thumbnail) or path.suffix.lower() not in FORMATS or not path.is_file():
            return PlainTextResponse("This image does not exist.", status_code=404)
        return FileResponse(path, headers={"Cache-Control": "private, no-cache"})

    async def _opinion(self, request: Request) -> Response:
        """Store a decision, and answer with the image's new state."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return PlainTextResponse("Send JSON.", status_code=415)
        given = await _object_in(request)
        name, change = given.get("name"), {key: given[key] for key in _CHANGES & given.keys()}
        if not isinstance(name, str):
            return PlainTextResponse("Send the name of an image and what to change.", status_code=400)
        try:
            [path] = await asyncio.to_thread(self._verdicts.decide, [name], **change)
            opinions = await asyncio.to_thread(self._verdicts.opinions)
        except ImageError as error:
            return PlainTextResponse(sentence(error), status_code=400)
        folder = self._folder / BIN if path.is_relative_to(self._folder / BIN) else self._folder
        opinion = opinions.get(path.relative_to(folder).as_posix(), Opinion())
        return JSONResponse(_state(path, opinion, self._folder))


async def _object_in(request: Request) -> dict[str, Any]:
    """Return the JSON object that was sent; empty if it is too long or something else."""
    body = await request.body()
    try:
        given: object = json.loads(body) if len(body) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", given) if isinstance(given, dict) else {}


def _state(path: Path, opinion: Opinion, folder: Path) -> dict[str, object]:
    is_rejected = path.is_relative_to(folder / BIN)
    choice = "kept" if opinion.kept else "rejected" if is_rejected else ""
    tag = {} if opinion.tag is None else {"tag": opinion.tag}
    file = quote(path.relative_to(folder).as_posix())
    return {"file": file, "choice": choice, "stars": opinion.stars or 0, **tag}
