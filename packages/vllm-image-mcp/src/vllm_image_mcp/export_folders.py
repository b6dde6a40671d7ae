"""Decide to which folders images may be exported: those that the user or the host allowed."""

import os
from pathlib import Path

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import LONGEST_PATH, brief, one_line

from vllm_image_mcp.input_folders import InputFolders


class ExportFolders:
    """The folders that images may be exported to.

    Links are followed before a folder is compared, so that none leads out of the allowed ones.

    Args:
        inputs: The folders that may be read. Those that were allowed for that, apart from single ones that
            the user was asked about, may be written to as well.
    """

    def __init__(self, inputs: InputFolders) -> None:
        self._inputs = inputs
        self._agreed: set[Path] = set()
        self._declined: set[Path] = set()

    def remember(self, folder: Path, *, agreed: bool) -> None:
        """Remember the user's answer about one folder, not about those below it."""
        (self._agreed if agreed else self._declined).add(folder)

    def outside(self, given: object) -> Path | None:
        """Return the folder if the user has to be asked about it; None if not, or for anything but a path."""
        try:
            folder = self._real_folder(given)
        except InvalidRequest:
            return None
        return None if folder in self._declined or self._is_allowed(folder) else folder

    def check(self, given: object) -> Path:
        """Return the folder, with links followed.

        Raises:
            InvalidRequest: It is not the path of a folder, or images may not be exported to it.
        """
        folder = self._real_folder(given)
        if self._is_allowed(folder):
            return folder
        declined = folder in self._declined
        raise self._refusal(given, "the user declined" if declined else "it is not an allowed folder")

    def _is_allowed(self, folder: Path) -> bool:
        allowed = (os.path.realpath(each) for each in self._inputs.allowed)
        return folder in self._agreed or any(folder.is_relative_to(each) for each in allowed)

    def _real_folder(self, given: object) -> Path:
        try:
            path = self._inputs.path_of(given, "export_to")
        except InvalidRequest as error:
            raise self._refusal(given, "it is not the path of a folder") from error
        if not path.is_absolute():
            if path.anchor or not self._inputs.allowed:
                raise self._refusal(given, "it is not an absolute path")
            path = self._inputs.allowed[0] / path
        return Path(os.path.realpath(path))

    def _refusal(self, given: object, reason: str) -> InvalidRequest:
        named = [one_line(str(folder), limit=LONGEST_PATH) for folder in self._inputs.allowed]
        allowed = f"folders below {', '.join(named)}" if named else "folders that the user allows"
        return InvalidRequest(
            f"export_to: images cannot be exported to {brief(given)}: {reason}. Allowed: {allowed}.",
            parameter="export_to",
            value=given,
            allowed=allowed,
            next_step="Ask the user to start this server with --allow-dir for that folder.",
        )
