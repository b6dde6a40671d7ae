"""Serve images, batches, model profiles, styles and the skill on prompting as MCP resources."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
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

    from mcp.server.mcpserver import Context
    from pydantic import AnyUrl
    from vllm_image_core.imaging.picture import Picture
    from vllm_image_core.storage.record import Record

_logger = logging.getLogger(__name__)

LATEST: Final = "images://latest"
"""The address of the list of the latest images."""

STYLES: Final = "styles://all"
"""The address of the list of styles."""

SKILL: Final = "skill://image-prompting/SKILL.md"
"""The address of the skill on prompting, which the plugin for Claude Code has as a file."""

_SKILL_FILE: Final = Path(__file__).with_name("image_prompting_skill.md")
_LISTED: Final = 10
_LATEST: Final = 20
_MOST_OF_A_BATCH: Final = 200
_TITLE: Final = 80
_MOST_WIDTH: Final = 4096
_JSON: Final = "application/json"
_MIME_TYPES: Final = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
"""MIME types by the first bytes; every image served was checked to be one of the three."""


class ResourceServer(MCPServer[State]):
    """An MCP server that lists the latest images among its resources, each with its actual type."""

    reader: ResourceReader | None = None

    async def list_resources(self) -> list[Resource]:
        """The registered resources and the latest images of the output folder."""
        added = await super().list_resources()
        return [*added, *(await self.reader.list() if self.reader else ())]

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[State] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read a resource with the type of its contents: a template has one, its images may differ."""
        contents = await super().read_resource(uri, context)
        if isinstance(contents, InputRequiredResult):
            return contents
        return [
            ReadResourceContents(content=each.content, mime_type=_true_type(each), meta=each.meta)
            for each in contents
        ]


def add_resources(server: ResourceServer, state: State) -> None:
    """Register the resources; nothing is opened until one is listed or read."""
    reader = server.reader = ResourceReader(state)
    server.resource(
        LATEST,
        name="latest_images",
        title="Latest images",
        description=f"The last {_LATEST} images of the output folder with their parameters, newest first.",
        mime_type=_JSON,
    )(reader.latest)
    server.resource(
        "image://{id}{?width,format}",
        name="image",
        title="Image",
        description=(
            "An image of the output folder, by file name; ?width=512&format=webp for a smaller one "
            "(format: png, webp or jpeg)."
        ),
        mime_type="image/png",
    )(reader.image)
    server.resource(
        "batch://{id}",
        name="batch",
        title="Batch",
        description="The state of a batch: its counts, and each image with the parameters to repeat it.",
        mime_type=_JSON,
    )(reader.batch)
    server.resource(
        "profile://{+model}",
        name="profile",
        title="Model profile",
        description="What is known about a model: settings, sizes, limits, how to prompt it, with sources.",
        mime_type=_JSON,
    )(reader.profile)

    server.resource(
        STYLES,
        name="styles",
        title="Styles",
        description="The saved styles, by name and description; the tools take a name as style.",
        mime_type=_JSON,
    )(reader.styles)
    server.resource(
        SKILL,
        name="image_prompting_skill",
        title="Skill: image prompting",
        description="How an assistant writes prompts and chooses settings for the loaded model.",
        mime_type="text/markdown",
    )(reader.skill)
    server.resource(
        "style://{name}",
        name="style",
        title="Style",
        description="A saved style: the words that it adds to a prompt, and its settings.",
        mime_type=_JSON,
    )(reader.style)


class ResourceReader:
    """The contents of the resources."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def list(self) -> list[Resource]:
        """The latest images as individual resources, for hosts in which a person picks one.

        Empty if the folder cannot be used, because the list has other resources as well.
        """
        from vllm_image_core.errors import CannotSave  # noqa: PLC0415 - the server starts without it
        from vllm_image_core.text import one_line  # noqa: PLC0415 - likewise

        try:
            self._state.check_folder()
            records = await self._latest(_LISTED)
        except (CannotSave, OSError) as error:
            _logger.warning("Images cannot be listed: %s", error)
            return []
        return [
            Resource(
                uri=picture_uri(record.path, folder=self._state.folder.path),
                name=record.path.name,
                title=one_line(" ".join(record.prompt.split()), limit=_TITLE) if record.prompt else None,
                mime_type=mime_type_of(record.path),
                size=record.bytes,
            )
            for record in records
        ]

    async def latest(self) -> str:
        """The latest images with the parameters to repeat them."""
        from vllm_image_core.storage.index import Page  # noqa: PLC0415 - the server starts without it

        from vllm_image_mcp.results.found_images import found_images  # noqa: PLC0415 - likewise

        self._check_folder()
        try:
            page = Page(pictures=await self._latest(_LATEST))
        except OSError as error:
            raise self._unreadable(error) from error
        result = await asyncio.to_thread(found_images, page, folder=self._state.folder.path)
        return result.model_dump_json(indent=1)

    async def image(
        self,
        id: str,  # noqa: A002 - the name in the address
        width: str | None = None,
        format: str | None = None,  # noqa: A002 - likewise
    ) -> bytes:
        """The bytes of an image file, or of a smaller version."""
        from vllm_image_core.errors import BadPicture  # noqa: PLC0415 - the server starts without it

        wanted_width, wanted_format = _check_width(width), _check_format(format)
        try:
            picture = await asyncio.to_thread(self._picture, id, wanted_width, wanted_format)
        except BadPicture as error:
            raise ResourceError(f"The image {id[:_TITLE]!r} is damaged. {error.message}") from error
        except OSError as error:
            raise self._unreadable(error) from error
        if picture is None:
            raise ResourceNotFoundError(
                f"The output folder has no image {id[:_TITLE]!r}. {LATEST} lists the latest."
            )
        return picture.bytes

    async def batch(self, id: str) -> str:  # noqa: A002 - likewise
        """The state of a batch of any process, from the folder's journal."""
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
        from vllm_image_core.errors import CannotSave  # noqa: PLC0415 - the server starts without it

        try:
            self._state.check_folder()
        except CannotSave as error:
            raise ResourceError(f"{error.message} {error.next_step}") from error

    def _unreadable(self, error: OSError) -> ResourceError:
        from vllm_image_core.storage.os_errors import next_step_after, reason_of  # noqa: PLC0415 - likewise
        from vllm_image_core.text import LONGEST_PATH, one_line  # noqa: PLC0415 - likewise

        next_step = next_step_after(error, otherwise="Check the folder and its permissions.")
        where = one_line(str(self._state.folder.path), limit=LONGEST_PATH)
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

    async def profile(self, model: str) -> str:
        """A model's profile, with the source of each number."""
        from vllm_image_core.errors import ImageError  # noqa: PLC0415 - the server starts without it

        try:
            found = (await asyncio.to_thread(lambda: self._state.registry)).by_name(model)
        except ImageError as error:
            raise ResourceError(error.message) from error
        if found is None:
            raise ResourceNotFoundError(f"There is no profile for a model {model[:_TITLE]!r}.")
        return _text(found.model_dump(mode="json"))

    async def styles(self) -> str:
        """The saved styles by name."""
        found = await asyncio.to_thread(self._state.styles.all)
        return _text([{"name": each.name, "description": each.description} for each in found])

    async def skill(self) -> str:
        """The skill on prompting."""
        return await asyncio.to_thread(_SKILL_FILE.read_text, "utf-8")

    async def style(self, name: str) -> str:
        """A saved style in full."""
        from vllm_image_core.errors import InvalidRequest  # noqa: PLC0415 - the server starts without it

        try:
            found = await asyncio.to_thread(lambda: self._state.styles.find(name))
        except InvalidRequest as error:
            raise ResourceNotFoundError(f"{error.message} {STYLES} lists all styles.") from error
        return _text({"name": found.name, **found.as_table()})


def _true_type(contents: ReadResourceContents) -> str | None:
    if isinstance(contents.content, str):
        return contents.mime_type
    return next(
        (kind for start, kind in _MIME_TYPES.items() if contents.content.startswith(start)),
        contents.mime_type,
    )


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
    return MCPError(code=INVALID_PARAMS, message=f"{name} is {value[:_TITLE]!r}. Use {allowed}.")
