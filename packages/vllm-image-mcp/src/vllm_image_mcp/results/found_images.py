"""Build the result of find_images from a page of the output folder's index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.fields import RARE_EDIT_NAMES, fields_shown_in
from vllm_image_core.requests.input_picture import InputPicture
from vllm_image_core.requests.limits import draw_seed
from vllm_image_core.text import LONGEST_PATH, one_line, path_text

from vllm_image_mcp.input_folders import InputFolders
from vllm_image_mcp.results.links import picture_link, picture_uri
from vllm_image_mcp.results.parameters_used import parameters_of_record
from vllm_image_mcp.results.previews import SheetEntry
from vllm_image_mcp.results.tool_results import FoundImage, FoundImages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.types import ResourceLink
    from vllm_image_core.storage.index import Page
    from vllm_image_core.storage.record import Record

_OF_EDITS: Final = frozenset(each.name for each in fields_shown_in("edit_image"))
_ONLY_OF_EDITS: Final = tuple(
    each.name for each in fields_shown_in("edit") if each.of_edits and each.kind != "image"
)


def found_images(page: Page, *, folder: Path, new_seeds: bool = False) -> FoundImages:
    """Images with the parameters to make each again. Reads the files of edits: call it in a thread.

    With ``new_seeds``, the parameters make images like them instead.
    """
    return FoundImages(
        images=[
            FoundImage(
                file_path=path_text(record.path),
                uri=picture_uri(record.path, folder=folder),
                created=record.created.isoformat(),
                size=str(record.size),
                tool="edit_image" if record.operation == "edit" else "generate_image",
                parameters={**_parameters(record, folder), **({"seed": draw_seed()} if new_seeds else {})},
                model=record.model and one_line(record.model),
                batch_id=record.batch and one_line(record.batch),
                kept=record.kept,
                stars=record.stars,
                tag=record.tag and one_line(record.tag),
            )
            for record in page.pictures
        ],
        next_offset=page.next_offset,
        notes=list(page.notes),
    )


def _parameters(record: Record, folder: Path) -> dict[str, object]:
    """Arguments for the image's tool; an edit's inputs are named if every file is still unchanged."""
    given = parameters_of_record(record)
    if record.operation != "edit":
        return {**given}
    given = {name: value for name, value in given.items() if name in _OF_EDITS}
    edit = record.as_request()
    if not isinstance(edit, EditRequest):
        return {**given}
    names = [(role, _name(one, folder)) for role, one in edit.inputs_by_role]
    if not all(name for _, name in names):
        return {**given}
    if edit.width is None:
        given = {name: value for name, value in given.items() if name not in {"width", "height"}}
    own = {name: value for name in _ONLY_OF_EDITS if (value := getattr(edit, name)) is not None}
    rare = {name: own.pop(name) for name in RARE_EDIT_NAMES & own.keys()}
    if rare:
        own["extra_params"] = {**cast("dict[str, object]", given.get("extra_params", {})), **rare}
    return {
        **given,
        **own,
        "images": [name for role, name in names if role == "image"],
        **{role: name for role, name in names if role != "image"},
    }


def _name(one: object, folder: Path) -> str | None:
    """The name by which the tool finds an input image; None if its file is gone or has changed."""
    if not isinstance(one, InputPicture) or one.name is None:
        return None
    try:
        there = InputFolders(folder).read(one.name, parameter="images")
    except InvalidRequest:
        return None
    return one.name if there.sha256 == one.sha256 else None


def no_match_note(given: Mapping[str, object], *, offset: int, folder: Path) -> str:
    """The note for a search without results: what to try next. A search term that is None was not given."""
    terms = [name for name, value in given.items() if value is not None]
    if offset:
        return f"No more images from offset {offset} on. Use a smaller offset, or 0 for the newest."
    if not terms:
        where = one_line(str(folder), limit=LONGEST_PATH)
        return f"There are no images in {where} yet. Use generate_image to create one."
    words = ' Try fewer words, or the beginning of one, such as "sno*".' if "text" in terms else ""
    without = " or ".join(terms)
    return (
        f"No image matches {' and '.join(terms)}.{words} Search without {without}, or without arguments for "
        "the newest images."
    )


def links_of(answer: FoundImages) -> list[ResourceLink]:
    """A link to each image of a result."""
    return [
        picture_link(Path(image.file_path), uri=image.uri, description=f"{index}: {image.size}")
        for index, image in enumerate(answer.images)
    ]


def sheet_entries(page: Page) -> list[SheetEntry]:
    """The images of a page as the entries of a sheet, numbered from 0."""
    return [
        SheetEntry(number=index, path=record.path, prompt=record.prompt or record.path.name, parameters={})
        for index, record in enumerate(page.pictures)
    ]
