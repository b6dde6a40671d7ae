"""The resources: pictures, batches and profiles under addresses of their own, beside the tools."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Final, Literal

from mcp.server import MCPServer
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, InputRequiredResult, Resource

from vllm_image_mcp.results.links import mime_type_of, picture_uri
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mcp.server.mcpserver import Context
    from pydantic import AnyUrl
    from vllm_image_core.imaging.picture import Picture
    from vllm_image_core.storage.record import Record

__all__ = ["LATEST", "ResourceServer", "add_resources"]

_logger = logging.getLogger(__name__)

LATEST: Final = "images://latest"
"""The address of the list of the latest pictures."""

_LISTED: Final = 10
_LATEST: Final = 20
_MOST_OF_A_BATCH: Final = 200
_TITLE: Final = 80
_MOST_WIDTH: Final = 4096
_JSON: Final = "application/json"
_MIME_TYPES: Final = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
"""By how the bytes begin; what is served was checked to be a picture of one of the three."""


class ResourceServer(MCPServer[State]):
    """An MCP server that lists the latest pictures among its resources, and tells the true type of each."""

    pictures: ImageResources | None = None

    async def list_resources(self) -> list[Resource]:
        """What was added, and the last pictures of the output folder."""
        added = await super().list_resources()
        return [*added, *(await self.pictures.list() if self.pictures else ())]

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[State] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read a resource; a template tells one type for all of its pictures, and their files three."""
        contents = await super().read_resource(uri, context)
        if isinstance(contents, InputRequiredResult):
            return contents
        return [
            ReadResourceContents(content=each.content, mime_type=_true_type(each), meta=each.meta)
            for each in contents
        ]


def add_resources(server: ResourceServer, state: State) -> None:
    """Add the resources; nothing is opened before one is listed or read."""
    pictures = server.pictures = ImageResources(state)
    server.resource(
        LATEST,
        name="latest_images",
        title="The latest pictures",
        description=f"The last {_LATEST} pictures of the output folder with their parameters, newest first.",
        mime_type=_JSON,
    )(pictures.latest)
    server.resource(
        "image://{id}{?width,format}",
        name="image",
        title="A picture",
        description=(
            "A picture of the output folder by its file name; ?width=512&format=webp for a smaller one "
            "(format: png, webp or jpeg)."
        ),
        mime_type="image/png",
    )(pictures.image)
    server.resource(
        "batch://{id}",
        name="batch",
        title="A batch",
        description="A batch as it stands: its counts, and each picture with what makes it again.",
        mime_type=_JSON,
    )(pictures.batch)
    server.resource(
        "profile://{+model}",
        name="profile",
        title="A model's profile",
        description="What is known of a model: settings, sizes, limits, how to prompt it, and the sources.",
        mime_type=_JSON,
    )(ProfileResources(state).profile)


class ImageResources:
    """The resources that come from the output folder."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def list(self) -> list[Resource]:
        """The latest pictures as resources of their own, for hosts in which a person picks one.

        None where the folder cannot be used: the list has more than pictures.
        """
        from vllm_image_core.errors import CannotSave  # noqa: PLC0415 - a server that starts needs no core

        try:
            self._state.check_folder()
            records = await self._latest(_LISTED)
        except (CannotSave, OSError) as error:
            _logger.warning("No image is listed: %s", error)
            return []
        return [
            Resource(
                uri=picture_uri(record.path, folder=self._state.folder.path),
                name=record.path.name,
                title=_title(record),
                mime_type=mime_type_of(record.path),
                size=record.bytes,
            )
            for record in records
        ]

    async def latest(self) -> str:
        """The latest pictures with what makes them again.

        Raises:
            ResourceError: The output folder cannot be used.
        """
        from vllm_image_core.storage.index import Page  # noqa: PLC0415 - a server that starts needs no core

        from vllm_image_mcp.results.found_images import found_images  # noqa: PLC0415 - likewise

        self._check_folder()
        try:
            page = Page(pictures=await self._latest(_LATEST))
        except OSError as error:
            raise self._unreadable(self._state.folder.path, error) from error
        told = await asyncio.to_thread(found_images, page, folder=self._state.folder.path)
        return told.model_dump_json(indent=1)

    async def image(
        self,
        id: str,  # noqa: A002 - the names are the address's
        width: str | None = None,
        format: str | None = None,  # noqa: A002 - likewise
    ) -> bytes:
        """The file's bytes, or a smaller picture.

        Raises:
            ResourceNotFoundError: There is no such picture in the output folder.
            ResourceError: There is, but it is damaged, or the folder cannot be read.
            MCPError: A value that cannot be.
        """
        from vllm_image_core.errors import BadPicture  # noqa: PLC0415 - a server that starts needs no core

        wanted_width, wanted_format = _check_width(width), _check_format(format)
        try:
            picture = await asyncio.to_thread(self._picture, id, wanted_width, wanted_format)
        except BadPicture as error:
            raise ResourceError(f"The picture {id[:_TITLE]!r} is damaged. {error.message}") from error
        except OSError as error:
            raise self._unreadable(self._state.folder.path, error) from error
        if picture is None:
            raise ResourceNotFoundError(
                f"There is no picture {id[:_TITLE]!r} in the output folder. {LATEST} lists the last ones."
            )
        return picture.bytes

    async def batch(self, id: str) -> str:  # noqa: A002 - likewise
        """A batch of any process, as the folder's journal has it.

        Raises:
            ResourceNotFoundError: No batch of the output folder has that id.
            ResourceError: The journal cannot be read.
        """
        from vllm_image_core.errors import ImageError, UnknownBatch  # noqa: PLC0415 - likewise

        from vllm_image_mcp.resources.batch_page import batch_page  # noqa: PLC0415 - likewise

        self._check_folder()
        studio = self._state.studio
        try:
            found = await studio.find_batch(id, limit=_MOST_OF_A_BATCH)
        except UnknownBatch as error:
            raise ResourceNotFoundError(error.message) from error
        except ImageError as error:
            raise ResourceError(error.message) from error
        return _text(await asyncio.to_thread(batch_page, found, folder=studio.output_dir))

    def _check_folder(self) -> None:
        from vllm_image_core.errors import CannotSave  # noqa: PLC0415 - a server that starts needs no core

        try:
            self._state.check_folder()
        except CannotSave as error:
            raise ResourceError(f"{error.message} {error.next_step}") from error

    def _unreadable(self, path: Path, error: OSError) -> ResourceError:
        from vllm_image_core.storage.os_errors import next_step_after, reason_of  # noqa: PLC0415 - likewise
        from vllm_image_core.text import LONGEST_PATH, one_line  # noqa: PLC0415 - likewise

        next_step = next_step_after(error, otherwise="Check the folder and its permissions.")
        where = one_line(str(path), limit=LONGEST_PATH)
        return ResourceError(f"The output folder {where} cannot be read: {reason_of(error)}. {next_step}")

    def _picture(
        self, name: str, width: int | None, kind: Literal["png", "webp", "jpeg"] | None
    ) -> Picture | None:
        from vllm_image_mcp.resources import stored_images  # noqa: PLC0415 - likewise

        picture = stored_images.read(self._state.folder.path, name)
        return picture and stored_images.smaller(picture, width=width, format=kind)

    async def _latest(self, count: int) -> tuple[Record, ...]:
        from vllm_image_mcp.resources import stored_images  # noqa: PLC0415 - likewise

        return await asyncio.to_thread(lambda: stored_images.latest(self._state.folder.path, count))


class ProfileResources:
    """The resources that come from the models' profiles."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def profile(self, model: str) -> str:
        """A profile with the source of each number.

        Raises:
            ResourceNotFoundError: No profile is of that model.
            ResourceError: A profile of the user's own cannot be read.
        """
        from vllm_image_core.errors import ImageError  # noqa: PLC0415 - a server that starts needs no core

        try:
            found = (await asyncio.to_thread(lambda: self._state.registry)).by_name(model)
        except ImageError as error:
            raise ResourceError(error.message) from error
        if found is None:
            raise ResourceNotFoundError(f"There is no profile of a model {model[:_TITLE]!r}.")
        return _text(found.model_dump(mode="json"))


def _true_type(contents: ReadResourceContents) -> str | None:
    if isinstance(contents.content, str):
        return contents.mime_type
    return next(
        (kind for start, kind in _MIME_TYPES.items() if contents.content.startswith(start)),
        contents.mime_type,
    )


def _title(record: Record) -> str | None:
    from vllm_image_core.text import one_line  # noqa: PLC0415 - a server that starts needs no core

    return one_line(" ".join(record.prompt.split()), limit=_TITLE) if record.prompt else None


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _check_width(width: str | None) -> int | None:
    if not width:
        return None
    if not (width.isascii() and width.isdigit() and 1 <= int(width[:9]) <= _MOST_WIDTH):
        raise _refusal("width", width, f"a number of pixels from 1 to {_MOST_WIDTH}")
    return int(width)


def _check_format(wanted: str | None) -> Literal["png", "webp", "jpeg"] | None:
    match wanted:
        case None | "":
            return None
        case "png" | "webp" | "jpeg":
            return wanted
        case "jpg":
            return "jpeg"
        case _:
            raise _refusal("format", wanted, "png, webp or jpeg")


def _refusal(name: str, value: str, allowed: str) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=f"{name} is {value[:_TITLE]!r}. Allowed is {allowed}.")
