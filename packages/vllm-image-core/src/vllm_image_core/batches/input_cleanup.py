"""A sweep of the kept inputs: copies that no batch needs any more are removed."""

import logging
import time
from contextlib import suppress
from typing import Final

from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.queries import JournalQueries
from vllm_image_core.errors import DatabaseUnavailable
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.input_store import copies_of, inputs_folder

__all__ = ["GRACE_SECONDS", "remove_unneeded_inputs"]

_logger = logging.getLogger(__name__)

GRACE_SECONDS: Final = 3600
"""A copy that is younger may be that of a batch that is being recorded: it is left for another sweep."""


def remove_unneeded_inputs(journal: Journal) -> None:
    """Remove the copies that nobody needs; waits for the disk.

    A batch that may go on needs its copies, and so do the failed requests of the newest batches, which may be
    tried again. What goes wrong is told in the log: a later sweep does it.
    """
    path = inputs_folder(journal.root)
    try:
        with Folder.existing(path) as folder:
            if _older(folder, time.time() - GRACE_SECONDS):  # by our own clock, which costs nothing
                _sweep(folder, journal)
    except FileNotFoundError:  # no edit was ever kept, or the folder is gone
        return
    except (OSError, DatabaseUnavailable) as error:
        _logger.warning("The copies in %s were not looked through: %s", path, error)


def _sweep(folder: Folder, journal: Journal) -> None:
    latest = _latest(folder)
    free = _older(folder, latest) - journal.read(_needed_hashes)
    if free:
        # One transaction: no batch is recorded between the question and the answer.
        journal.write(lambda queries: _remove(folder, free - _needed_hashes(queries), latest))


def _needed_hashes(queries: JournalQueries) -> frozenset[str]:
    return copies_of(queries.edits_to_keep())


def _latest(folder: Folder) -> float:
    """When a copy that is old enough was written at the latest, by the file system's own clock."""
    with folder.temporary(b"") as probe:
        folder.sweep(like=probe)
        return folder.status(probe).st_mtime - GRACE_SECONDS


def _older(folder: Folder, latest: float) -> set[str]:
    return {name for name in folder.names() if _is_older(folder, name, latest)}


def _is_older(folder: Folder, name: str, latest: float) -> bool:
    try:
        return not name.startswith(".") and folder.status(name).st_mtime < latest
    except FileNotFoundError:
        return False


def _remove(folder: Folder, names: set[str], latest: float) -> None:
    for name in names:
        if _is_older(folder, name, latest):  # a batch that is being recorded makes what it needs young
            with suppress(OSError):  # another process may be sweeping too
                folder.remove(name)
