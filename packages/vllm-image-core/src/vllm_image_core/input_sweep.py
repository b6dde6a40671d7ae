"""A sweep of the kept inputs: copies that no batch needs any more are removed."""

import logging
from contextlib import suppress
from typing import Final

from vllm_image_core.errors import DatabaseUnavailable
from vllm_image_core.folder import Folder
from vllm_image_core.journal import Journal
from vllm_image_core.kept_inputs import copies_of, inputs_folder
from vllm_image_core.ledger import Ledger

__all__ = ["GRACE_SECONDS", "swept"]

_logger = logging.getLogger(__name__)

GRACE_SECONDS: Final = 3600
"""A copy that is younger may be that of a batch that is being recorded: it is left for another sweep."""


def swept(journal: Journal) -> None:
    """Remove the copies that nobody needs; waits for the disk.

    A batch that may go on needs its copies, and so do the failed requests of the newest batches, which may be
    tried again. What goes wrong is told in the log: a later sweep does it.
    """
    path = inputs_folder(journal.root)
    if not path.exists():
        return
    try:
        with Folder.existing(path) as folder:
            latest = _latest(folder)
            old = {name for name in folder.names() if _before(folder, name, latest)}
            if old:
                # One transaction: no batch is recorded between the question and the answer.
                journal.written(lambda ledger: _remove(folder, old, ledger, latest=latest))
    except (OSError, DatabaseUnavailable) as error:
        _logger.warning("The copies in %s were not looked through: %s", path, error)


def _latest(folder: Folder) -> float:
    """When a copy that is old enough was written at the latest, by the file system's own clock."""
    with folder.temporary(b"") as probe:
        folder.sweep(like=probe)
        return folder.status(probe).st_mtime - GRACE_SECONDS


def _before(folder: Folder, name: str, latest: float) -> bool:
    try:
        return not name.startswith(".") and folder.status(name).st_mtime < latest
    except FileNotFoundError:
        return False


def _remove(folder: Folder, old: set[str], ledger: Ledger, *, latest: float) -> None:
    for name in old - copies_of(ledger.edits_to_keep()):
        if _before(folder, name, latest):  # a batch that is being recorded makes what it needs young
            with suppress(OSError):  # another process may be sweeping too
                folder.remove(name)
