"""Keep copies of the input images of a batch's edits, so that a later process finds them unchanged.

Each image is copied once to ``.vllm-image/inputs/`` in the output folder, under its hash: what happens to the
original file does not matter. A copy is a complete file on disk, or does not exist.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from vllm_image_core.errors import CannotSave, InvalidRequest
from vllm_image_core.provenance.facts import as_list, as_object
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.input_picture import InputPicture, read_input_file
from vllm_image_core.storage.database import FOLDER
from vllm_image_core.storage.folder import Folder
from vllm_image_core.text import LONGEST_PATH, one_line, system_reason

MOST_KEPT_BYTES: Final = 10 * 2**30
"""10 GiB for all copies in one folder: 5,000 photographs of 2 MB."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NAMED: Final = re.compile(r'"sha256": ?"([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInput:
    """An input image as the journal records it: its hash and where its copy is; not read yet.

    Attributes:
        root: The output folder.
        sha256: The hash of its bytes, in hexadecimal; None if it could not be read when the batch was
            recorded.
        name: The plain name that its file had, for display; None if it had no file.
    """

    root: Path
    sha256: str | None
    name: str | None = None

    @property
    def path(self) -> Path:
        """The path of its copy."""
        return inputs_folder(self.root) / str(self.sha256)

    def input_picture(self, *, parameter: str) -> InputPicture:
        """Read the copy, if it is unchanged; blocks on the disk.

        Raises:
            InvalidRequest: The copy is no longer there, or was changed.
        """
        if self.sha256 is None:
            raise self._refusal(parameter, "could not be used when the batch was recorded")
        try:
            with Folder.existing(self.path.parent) as folder, folder.reading(self.path.name) as file:
                found = None if file is None else self._read(file, parameter)
        except FileNotFoundError as error:
            raise self._refusal(parameter, "is no longer there") from error
        except (OSError, ValueError) as error:
            raise self._refusal(parameter, f"cannot be read: {system_reason(error)}") from error
        if found is None or found.sha256 != self.sha256:
            raise self._refusal(parameter, "has changed since the batch was recorded")
        return found

    def _read(self, file: BinaryIO, parameter: str) -> InputPicture | None:
        try:
            return read_input_file(file, name=self.name, parameter=parameter)
        except InvalidRequest:  # it is no longer an image
            return None

    def _refusal(self, parameter: str, fault: str) -> InvalidRequest:
        named = f"'{one_line(self.name)}' of this edit" if self.name else "of this edit"
        where = "" if self.sha256 is None else f" ({one_line(str(self.path), limit=LONGEST_PATH)})"
        return InvalidRequest(
            f"{parameter}: the input image {named} {fault}{where}.",
            parameter=parameter,
            value=self.name,
            allowed="the image as it was when the batch was recorded",
            next_step="Request the edit again with its input images.",
        )


async def store_inputs(request: ImageRequest, root: Path) -> ImageRequest:
    """Copy the input images of an edit, and return the request with these copies; a generation as it is.

    Raises:
        InvalidRequest: With these images, the copies would exceed `MOST_KEPT_BYTES`.
        CannotSave: A copy cannot be written.
    """
    if request.task != "edit":
        return request
    import asyncio  # noqa: PLC0415 - whoever only lists batches needs no event loop

    return await asyncio.to_thread(_store_inputs, request, root)


def inputs_as_json(request: ImageRequest) -> list[dict[str, object]]:
    """Return the input images as recorded in the journal; only the role of an image that was not copied."""
    return [
        {"role": role, **(_as_json(one) if isinstance(one, StoredInput) else {})}
        for role, one in request.inputs_by_role
    ]


def recorded_inputs(recorded: object, root: Path) -> Iterator[tuple[str, StoredInput]]:
    """Yield the images that `inputs_as_json` recorded, by role; ignore anything else in the list."""
    for entry in map(as_object, as_list(recorded)):
        yield str(entry.get("role")), _picture(entry, root)


def copy_names(recorded: Iterable[str]) -> frozenset[str]:
    """Return the names of the copies that some edits need, from their JSON in the journal."""
    return frozenset(name for text in recorded for name in _NAMED.findall(text))


def inputs_folder(root: Path) -> Path:
    """Return the folder of the copies."""
    return root / FOLDER / "inputs"


def _store_inputs(request: ImageRequest, root: Path) -> ImageRequest:
    inputs = ((role, one) for role, one in request.inputs_by_role if isinstance(one, InputPicture))
    return request.with_inputs((role, _store(one, root)) for role, one in inputs)


def _store(one: InputPicture, root: Path) -> StoredInput:
    path = inputs_folder(root)
    try:
        _copy(one, path)
    except OSError as error:
        raise CannotSave(
            f"Cannot store the input images of an edit in {one_line(str(path), limit=300)}: "
            f"{system_reason(error)}."
        ) from error
    return StoredInput(root=root, sha256=one.sha256, name=one.name)


def _copy(one: InputPicture, path: Path) -> None:
    is_new = not path.exists()
    with Folder.open(path) as folder:
        if folder.has(one.sha256):
            if _holds(folder, one):
                folder.touch(one.sha256)  # it is needed again; the new time keeps it until that is recorded
                return
            folder.remove(one.sha256)  # its writer died (without hard links), or it was changed
        _check_room(folder, len(one.picture.bytes))
        with folder.temporary(one.picture.bytes) as temporary:
            folder.place(temporary, one.sha256)  # False if another process has just done the same
        folder.sync()
    if is_new:
        with Folder.existing(path.parent) as parent:
            parent.sync()


def _holds(folder: Folder, one: InputPicture) -> bool:
    """Return whether the copy is identical to this image."""
    with folder.reading(one.sha256) as file:
        return file is not None and file.read(len(one.picture.bytes) + 1) == one.picture.bytes


def _check_room(folder: Folder, more: int) -> None:
    held = sum(_size(folder, name) for name in folder.names())
    if held + more <= MOST_KEPT_BYTES:
        return
    allowed = f"{MOST_KEPT_BYTES / 2**30:.0f} GiB"
    raise InvalidRequest(
        f"images: the input images of unfinished edits already take {held / 2**30:.1f} GiB in "
        f"{one_line(str(folder.path), limit=LONGEST_PATH)}; the limit is {allowed}.",
        parameter="images",
        value=more,
        allowed=allowed,
        next_step="Let the batches of that folder finish, or cancel those that are no longer needed; their "
        "copies are removed an hour later.",
    )


def _size(folder: Folder, name: str) -> int:
    try:
        return folder.status(name).st_size
    except FileNotFoundError:  # another process has just removed it
        return 0


def _as_json(one: StoredInput) -> dict[str, object]:
    return {name: value for name, value in (("sha256", one.sha256), ("name", one.name)) if value}


def _picture(entry: Mapping[str, object], root: Path) -> StoredInput:
    digest, name = entry.get("sha256"), entry.get("name")
    return StoredInput(
        root=root,
        sha256=digest if isinstance(digest, str) and _HASH.fullmatch(digest) else None,
        name=one_line(name) if isinstance(name, str) and name else None,
    )
