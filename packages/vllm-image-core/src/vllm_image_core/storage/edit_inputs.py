"""Find the input images of a recalled edit again, in its folder or among the copies its batches keep."""

from dataclasses import replace
from pathlib import Path

from vllm_image_core.errors import InvalidRequest, NotRecalled
from vllm_image_core.provenance.recall import ROLES, RecalledInput, recall
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.input_picture import InputPicture, read_input_file
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.input_store import StoredInput


def find_inputs(folder: Path, request: ImageRequest, inputs: tuple[RecalledInput, ...]) -> ImageRequest:
    """The edit with those of its pictures that are still in a folder, under their names and unchanged.

    Else the copies that the folder's batches keep are looked at. Only when all pictures are found; nothing
    outside of the folder is looked at. Waits for the disk.
    """
    if not isinstance(request, EditRequest) or not inputs:
        return request
    found = [_find(folder, one) or _find_copy(folder, one) for one in inputs]
    pictures = [one for one in found if one is not None]
    if len(pictures) < len(found):
        return request
    by_role = {
        role: [one for one, told in zip(pictures, inputs, strict=True) if told.role == role] for role in ROLES
    }
    return replace(
        request,
        images=tuple(by_role["image"]),
        mask=next(iter(by_role["mask"]), None),
        reference_image=next(iter(by_role["reference_image"]), None),
    )


def _find(folder: Path, told: RecalledInput) -> InputPicture | None:
    if told.name is None or told.name in {".", ".."} or not _is_plain(told.name):
        return None
    try:
        with Folder.existing(folder) as opened, opened.reading(told.name) as file:
            picture = None if file is None else read_input_file(file, name=told.name, parameter="images")
    except (OSError, ValueError, InvalidRequest):
        return None
    return picture if picture is not None and picture.sha256 == told.sha256 else None


def _find_copy(folder: Path, told: RecalledInput) -> InputPicture | None:
    try:
        return StoredInput(root=folder, sha256=told.sha256, name=told.name).input_picture(parameter="images")
    except InvalidRequest:
        return None


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file in the folder itself: a file that anybody wrote may say anything."""
    return not set(name) & set("/\\:\0")


def recall_edit(path: Path) -> EditRequest | None:
    """The edit that a picture was made by, with its pictures from the same folder; waits for the disk.

    None where one of these is not there any more, or the file does not tell of an edit.
    """
    try:
        recalled = recall(path)
    except NotRecalled:
        return None
    request = find_inputs(path.parent, recalled.request, recalled.inputs)
    return request if isinstance(request, EditRequest) and request.images else None
