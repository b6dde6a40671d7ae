"""Export images into another folder, converted if requested, without replacing a file silently."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vllm_image_core.errors import CannotSave, InvalidRequest, NotRecalled
from vllm_image_core.files import read_image_file
from vllm_image_core.imaging import xmp
from vllm_image_core.imaging.metadata_blocks import KEYWORD as PARAMETERS
from vllm_image_core.imaging.picture import Picture, read_text, write_text
from vllm_image_core.provenance.recipe import KEYWORD, find_recipe
from vllm_image_core.requests.fields import OutputFormat
from vllm_image_core.storage.filename import fold_name
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.folder_paths import check_folder_path
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.text import TextTooLong, one_line

__all__ = ["convert", "export_images"]

_QUALITY: Final = 92
"""Of JPEG and WebP: differences are hard to see."""


def export_images(
    images: Sequence[Path], folder: Path, *, output_format: OutputFormat | None, overwrite: bool
) -> tuple[Path, ...]:
    """Copy images into a folder, which is created if it is missing; blocks on the disk.

    Args:
        images: Their files.
        folder: Where to.
        output_format: What to convert them to; None keeps each as it is, byte for byte.
        overwrite: Whether files of the same names are replaced.

    Raises:
        InvalidRequest: An image cannot be read, or a file is in the way; nothing was written.
        CannotSave: A file cannot be written.
    """
    pictures = [_read(path, output_format) for path in images]
    names = [f"{path.stem}.{one.extension}" for path, one in zip(images, pictures, strict=True)]
    folds = [fold_name(name) for name in names]  # most volumes of Windows and Macs ignore case
    twice = [name for name, fold in zip(names, folds, strict=True) if folds.count(fold) > 1]
    taken = twice[:1]
    if not overwrite:
        taken += [name for name in names if os.path.lexists(folder / name)]
    if taken:
        raise InvalidRequest(
            f"{one_line(taken[0])} would be written twice."
            if twice
            else f"{one_line(str(folder / taken[0]), limit=300)} exists already.",
            parameter="images",
            value=taken[0],
            allowed="names that are free in the folder",
            next_step="Choose another folder, or ask to overwrite the file.",
        )
    check_folder_path(folder)
    try:
        with Folder.open(folder) as opened:
            for name, picture in zip(names, pictures, strict=True):
                _write(opened, name, picture, overwrite=overwrite)
            opened.sync()
    except OSError as error:
        where = one_line(str(folder), limit=300)
        raise CannotSave(
            f"Images cannot be exported to {where}: {reason_of(error)}.",
            next_step=next_step_after(error, otherwise="Choose another folder."),
        ) from error
    return tuple(folder / name for name in names)


def convert(picture: Picture, output_format: OutputFormat) -> Picture:
    """Encode an image in another format, and write what its file says about its making into the new one.

    Transparent parts become white in a JPEG.
    """
    if picture.format == output_format:
        return picture
    image = picture.pil()
    if output_format == "jpeg" and image.mode != "RGB":
        from PIL import Image  # noqa: PLC0415 - slow to import

        alpha = image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(alpha, mask=alpha.getchannel("A"))
    file = io.BytesIO()
    options = {} if output_format == "png" else {"quality": _QUALITY}
    image.save(file, output_format.upper(), **options)
    converted = Picture.check(file.getvalue())
    try:
        return write_text(converted, _texts(picture, output_format))
    except TextTooLong:  # a JPEG holds 64 KiB of it
        return converted


def _texts(picture: Picture, output_format: OutputFormat) -> dict[str, str]:
    found = read_text(picture.bytes)
    stated = xmp.read(found.get(xmp.KEYWORD, ""))
    recipe = find_recipe(found)
    texts = {PARAMETERS: found[PARAMETERS]} if PARAMETERS in found else {}
    if recipe is not None and output_format == "png":
        texts[KEYWORD], recipe = recipe, None
    if recipe or stated.source or stated.creator:
        properties = xmp.Properties(json=recipe, source=stated.source, creator=stated.creator)
        texts[xmp.KEYWORD] = xmp.packet(properties)
    return texts


def _read(path: Path, output_format: OutputFormat | None) -> Picture:
    picture = Picture.check_file(read_image_file(path, NotRecalled))
    return picture if output_format is None else convert(picture, output_format)


def _write(folder: Folder, name: str, picture: Picture, *, overwrite: bool) -> None:
    with folder.temporary(picture.bytes) as temporary:
        if folder.place(temporary, name):
            return
        if not overwrite:
            raise FileExistsError(f"{name} was written by another program")
        folder.replace(temporary, name)
