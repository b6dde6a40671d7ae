"""Sign URLs of images, and serve them: whoever has one can read that image for an hour without a token."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, cast

import jwt
from starlette.responses import JSONResponse, Response
from vllm_image_core.errors import BadPicture

from vllm_image_mcp.resources import stored_images
from vllm_image_mcp.results.links import mime_type_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from starlette.requests import Request

FILES_PATH: Final = "/v1/images/files/"

_LIFETIME_SECONDS: Final = 3_600
"""As long as the URLs of OpenAI's own images are valid."""

_ALGORITHM: Final = "HS256"
_NOT_FOUND: Final = JSONResponse({"error": "Not found, or the address has expired."}, status_code=404)
_HEADERS: Final = {
    "cache-control": "private, max-age=3600, immutable",
    "content-security-policy": "default-src 'none'",
    "x-content-type-options": "nosniff",
}


class ImageLinks:
    """URLs of images, each signed for one file of one user.

    Args:
        key: Signs them; the same for all processes on a folder.
        folders: The output folder of each user, by name.
        public_url: The address under which clients reach the server; None for the one that they used.
    """

    def __init__(self, key: bytes, folders: Mapping[str, Path], public_url: str | None = None) -> None:
        self._key = key
        self._folders = folders
        self._public_url = public_url and public_url.rstrip("/")

    def link(self, user: str, request: Request, name: str) -> str:
        """Return the URL of a user's image file, for the client of a request."""
        base = self._public_url or str(request.base_url).rstrip("/")
        claims = {"sub": user, "file": name, "exp": int(time.time()) + _LIFETIME_SECONDS}
        return f"{base}{FILES_PATH}{jwt.encode(claims, self._key, _ALGORITHM)}/{name}"

    async def answer(self, request: Request) -> Response:
        """Return the image that a URL is signed for; any other URL is answered as not found."""
        if request.method not in {"GET", "HEAD"}:
            return JSONResponse({"error": "Use GET."}, status_code=405, headers={"allow": "GET, HEAD"})
        claims = self._claims(request.url.path.removeprefix(FILES_PATH).partition("/")[0])
        folder = self._folders.get(str(claims.get("sub")))
        if folder is None:
            return _NOT_FOUND
        name = str(claims.get("file"))
        try:
            picture = await asyncio.to_thread(stored_images.read, folder, name)
        except (BadPicture, OSError):
            return _NOT_FOUND
        if picture is None:
            return _NOT_FOUND
        return Response(picture.bytes, media_type=mime_type_of(folder / name), headers=_HEADERS)

    def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            decoded = jwt.decode(token, self._key, [_ALGORITHM], options={"require": ["exp", "sub", "file"]})
        except jwt.InvalidTokenError:
            return {}
        return cast("Mapping[str, Any]", decoded)
