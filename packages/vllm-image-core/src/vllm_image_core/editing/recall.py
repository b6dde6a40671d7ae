"""A recalled edit: which pictures it started from, as its file tells, and where they are found again."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, TypeVar, cast

from vllm_image_core.batch.kept_inputs import KeptPicture
from vllm_image_core.edit import MOST_INPUTS, EditRequest
from vllm_image_core.editing.input_picture import InputPicture, read_input_file
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.files.folder import Folder
from vllm_image_core.parameters import bounds
from vllm_image_core.request import ImageRequest
from vllm_image_core.text import one_line

__all__ = ["RecalledInput", "as_edit", "found_in", "recalled_inputs"]

T = TypeVar("T")

_ROLES: Final = ("image", "mask", "reference_image")
_MOST: Final = MOST_INPUTS + len(_ROLES) - 1
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NAME_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalledInput:
    """A picture that an edit started from, as the result's file tells it; anybody may have written that.

    Attributes:
        role: "image", "mask" or "reference_image".
        sha256: The hash of its bytes, in hexadecimal.
        name: The plain name that its file had, to be shown; None where it had none.
    """

    role: str
    sha256: str
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.role.replace('_', ' ')} {self.name or 'without a name'}, SHA-256 {self.sha256[:12]}…"


def recalled_inputs(edit: Mapping[str, object]) -> tuple[RecalledInput, ...]:
    """The pictures of an edit, at most as many as an edit has; what is no such entry is left out."""
    told = edit.get("inputs")
    entries = cast("list[object]", told)[:_MOST] if isinstance(told, list) else []
    return tuple(one for one in map(_input, entries) if one is not None)


def as_edit(
    request: ImageRequest, edit: Mapping[str, object], inputs: tuple[RecalledInput, ...]
) -> tuple[EditRequest, tuple[str, ...]]:
    """The request as an edit, still without its pictures, and what has to be told.

    Args:
        request: What the file tells of a generation's parameters.
        edit: What it tells of an edit's.
        inputs: The pictures that it started from.
    """
    notes: list[str] = []

    def checked(name: str, check: Callable[[object], T]) -> T | None:
        if edit.get(name) is None:
            return None
        try:
            return check(edit[name])
        except InvalidRequest as error:
            notes.append(f"The file's {name} was left out: {error.message}")
            return None

    if edit.get("resolution") is not None:
        request = replace(request, width=None, height=None)
    recalled = EditRequest(
        **{field.name: getattr(request, field.name) for field in fields(ImageRequest)},
        strength=checked("strength", bounds.strength),
        layers=checked("layers", _layers),
        resolution=checked("resolution", _resolution),
    )
    named = "; ".join(map(str, inputs)) or "pictures that the file does not name"
    notes.append(f"The picture was edited from {named}. Give these as images to make it again.")
    return recalled, tuple(notes)


def found_in(folder: Path, request: ImageRequest, inputs: tuple[RecalledInput, ...]) -> ImageRequest:
    """The edit with those of its pictures that are still in a folder, under their names and unchanged.

    Else the copies that the folder's batches keep are looked at. Only when all pictures are found; nothing
    outside of the folder is looked at. Waits for the disk.
    """
    if not isinstance(request, EditRequest) or not inputs:
        return request
    found = [_found(folder, one) or _kept(folder, one) for one in inputs]
    pictures = [one for one in found if one is not None]
    if len(pictures) < len(found):
        return request
    by_role = {
        role: [one for one, told in zip(pictures, inputs, strict=True) if told.role == role]
        for role in _ROLES
    }
    return replace(
        request,
        images=tuple(by_role["image"]),
        mask=next(iter(by_role["mask"]), None),
        reference_image=next(iter(by_role["reference_image"]), None),
    )


def _found(folder: Path, told: RecalledInput) -> InputPicture | None:
    if told.name is None or told.name in {".", ".."} or not _is_plain(told.name):
        return None
    try:
        with Folder.existing(folder) as opened, opened.reading(told.name) as file:
            picture = None if file is None else read_input_file(file, name=told.name, parameter="images")
    except (OSError, ValueError, InvalidRequest):
        return None
    return picture if picture is not None and picture.sha256 == told.sha256 else None


def _kept(folder: Path, told: RecalledInput) -> InputPicture | None:
    try:
        return KeptPicture(root=folder, sha256=told.sha256, name=told.name).input_picture(parameter="images")
    except InvalidRequest:
        return None


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file in the folder itself: a file that anybody wrote may say anything."""
    return not set(name) & set("/\\:\0")


def _input(entry: object) -> RecalledInput | None:
    if not isinstance(entry, dict):
        return None
    told = cast("dict[object, object]", entry)
    role, digest, name = told.get("role"), told.get("sha256"), told.get("name")
    if role not in _ROLES or not isinstance(digest, str) or not _HASH.fullmatch(digest):
        return None
    shown = one_line(name, limit=_NAME_CHARACTERS) if isinstance(name, str) and name else None
    return RecalledInput(role=str(role), sha256=digest, name=shown)


def _layers(value: object) -> int:
    return bounds.integer("layers", value, 2, 10, allowed="a whole number from 2 to 10")


def _resolution(value: object) -> int:
    return bounds.integer("resolution", value, 640, 1024, allowed="640 or 1024")
