"""What was found in the output folder, put into the result that the tool publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_image_core.text import one_line

from vllm_image_mcp.links import picture_link, picture_uri
from vllm_image_mcp.previews import Shown
from vllm_image_mcp.results import FoundImage, FoundImages
from vllm_image_mcp.settings_told import recorded_settings

if TYPE_CHECKING:
    from pathlib import Path

    from mcp.types import ResourceLink
    from vllm_image_core.index import Page
    from vllm_image_core.record import Record

__all__ = ["found_images", "found_links", "shown_found"]


def found_images(page: Page, *, folder: Path) -> FoundImages:
    """Pictures of the folder, with what makes each again."""
    return FoundImages(
        images=[_found(record, folder=folder) for record in page.pictures],
        next_offset=page.next_offset,
    )


def _found(record: Record, *, folder: Path) -> FoundImage:
    return FoundImage(
        file_path=str(record.path),
        uri=picture_uri(record.path, folder=folder),
        created=record.created.isoformat(),
        size=str(record.size),
        parameters=recorded_settings(record),
        model=record.model and one_line(record.model),
        batch_id=record.batch and one_line(record.batch),
    )


def found_links(page: Page, *, folder: Path) -> list[ResourceLink]:
    """A link to each picture of a page."""
    return [
        picture_link(record.path, folder=folder, description=f"{index}: {record.size}")
        for index, record in enumerate(page.pictures)
    ]


def shown_found(page: Page) -> list[Shown]:
    """The pictures of a page as the places of a sheet, in order, from 0."""
    return [
        Shown(number=index, path=record.path, prompt=record.prompt or record.path.name, parameters={})
        for index, record in enumerate(page.pictures)
    ]
