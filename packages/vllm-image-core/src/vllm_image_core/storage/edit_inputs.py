"""Find the input images of a recalled edit, in its folder or among the copies its batches keep."""

from pathlib import Path

from vllm_image_core.errors import InvalidRequest, NotRecalled
from vllm_image_core.provenance.recall import RecalledInput, recall
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.input_picture import InputPicture, read_input_file
from vllm_image_core.storage.database import FOLDER
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.input_store import StoredInput


def find_inputs(folder: Path, request: ImageRequest, inputs: tuple[RecalledInput, ...]) -> ImageRequest:
    """Return the edit with its input images, if all of them are still in the folder and unchanged.

    An image that is not there under its name is looked up among the copies that the folder's batches keep.
    Nothing outside the folder is read. If an image is missing, the request is returned unchanged. Blocks on
    the disk.
    """
    found = [(one.role, _find(folder, one) or _find_copy(folder, one)) for one in inputs]
    pictures = [(role, one) for role, one in found if one is not None]
    return request if len(pictures) < len(inputs) else request.with_inputs(pictures)


def _find(folder: Path, recalled: RecalledInput) -> InputPicture | None:
    name = recalled.name
    # Anybody may have written this name; it must be that of a file in the folder itself.
    if name is None or name in {".", ".."} or set(name) & set("/\\:\0"):
        return None
    try:
        with Folder.existing(folder) as opened, opened.reading(name) as file:
            picture = None if file is None else read_input_file(file, name=name, parameter="images")
    except (OSError, ValueError, InvalidRequest):
        return None
    return picture if picture is not None and picture.sha256 == recalled.sha256 else None


def _find_copy(folder: Path, recalled: RecalledInput) -> InputPicture | None:
    copy = StoredInput(root=folder, sha256=recalled.sha256, name=recalled.name)
    try:
        return copy.input_picture(parameter="images")
    except InvalidRequest:
        return None


def recall_edit(path: Path) -> ImageRequest | None:
    """Return the edit that produced an image, with its input images; blocks on the disk.

    Returns None if an input image is no longer there, or if the file does not record an edit.
    """
    try:
        recalled = recall(path)
    except NotRecalled:
        return None
    root = next((each for each in path.parents if (each / FOLDER).is_dir()), path.parent)
    request = find_inputs(root, recalled.request, recalled.inputs)
    return request if request.inputs_by_role else None
