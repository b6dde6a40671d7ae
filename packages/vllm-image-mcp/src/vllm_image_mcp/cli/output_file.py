"""Copy images to the file that -o names, in the format that its name asks for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from vllm_image_core.imaging.extension import FORMATS
from vllm_image_core.text import path_text

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class OutputFile:
    """Where a command puts its images, besides the output folder.

    Attributes:
        path: The file; several images are numbered: fox_1.png, fox_2.png.
        count: How many images there will be.
    """

    path: Path
    count: int = 1

    def place(self, image: Path, index: int = 0) -> Path:
        """Copy an image, replacing a file of that name, and return where the copy is.

        Raises:
            click.ClickException: The copy cannot be written; the image stays in the output folder.
        """
        path = self.path
        if self.count > 1:
            path = path.with_stem(f"{path.stem}_{index + 1:0{len(str(self.count))}}")
        try:
            shutil.copyfile(image, path)
        except OSError as error:
            raise click.ClickException(
                f"{path_text(path)} cannot be written: {error.strerror or error}. "
                f"The image is {path_text(image)}."
            ) from error
        return path


def take_output_file(parameters: dict[str, Any], *, count: int) -> OutputFile | None:
    """Remove -o from a command's options, and set the output format that its name asks for.

    Raises:
        click.UsageError: The name has no extension of an image, or contradicts --output-format.
    """
    path: Path | None = parameters.pop("output_file")
    if path is None:
        return None
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise click.UsageError(f"-o {path_text(path)}: use a name that ends with .png, .jpg or .webp.")
    if parameters["output_format"] not in {None, kind}:
        raise click.UsageError(f"-o {path_text(path)} and --output-format contradict each other.")
    if not path.absolute().parent.is_dir():
        raise click.UsageError(
            f"-o {path_text(path)}: there is no folder {path_text(path.parent)}. Create it first."
        )
    parameters["output_format"] = kind
    return OutputFile(path, count)
