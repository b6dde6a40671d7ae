"""Spill folder: where an image is kept if it could not be saved in its own folder or bucket."""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.folder import Folder

CANNOT_SPILL: Final = (OSError, UnicodeError)
"""The errors of saving in the spill folder."""


class SpillFolder:
    """A folder for images that could not be saved in their own, created when first needed.

    It is new and this user's alone: a folder with a fixed name could belong to another user. It lies next to
    the other one if possible, because systems clear their temporary folders.

    Args:
        root: The folder whose images it gets; None if they belong in a bucket.
        path: Another folder to use instead.

    Attributes:
        path: The folder; None until an image is saved there.
    """

    def __init__(self, root: Path | None, path: Path | None = None) -> None:
        self.path: Path | None = path
        self._root = root

    def save(self, picture: Picture, stem: str) -> Path:
        """Write an image and return its path.

        Args:
            picture: The image.
            stem: A path below the folder, without the extension; if it is taken, _2, _3 and so on are added.

        Raises:
            OSError: The system refused it. A path that it cannot encode is a UnicodeError.
        """
        if self.path is None and self._root is not None:
            with suppress(*CANNOT_SPILL):
                return self._save_beside(self._root, picture, stem)
        if self.path is None:
            self.path = Path(tempfile.mkdtemp(prefix="vllm-image-spill-"))
        return _write(self.path / stem, picture)

    def _save_beside(self, root: Path, picture: Picture, stem: str) -> Path:
        beside = Path(tempfile.mkdtemp(prefix=f"{root.name}-spill-", dir=root.parent))
        try:
            saved = _write(beside / stem, picture)
        except CANNOT_SPILL:
            beside.rmdir()
            raise
        self.path = beside
        return saved


def _write(path: Path, picture: Picture) -> Path:
    """Write an image under its own name, without renaming: a scanner may hold each new file for long."""
    number, name = 1, f"{path.name}.{picture.extension}"
    with Folder.open(path.parent) as folder:
        while True:
            try:
                folder.create(name, *picture.parts)
            except FileExistsError:
                number += 1
                name = f"{path.name}_{number}.{picture.extension}"
                continue
            folder.sync()
            return path.with_name(name)
