"""Input cleanup: delete stored copies of input images that no batch needs any more."""

import logging
import time
from contextlib import suppress
from typing import Final

from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.queries import JournalQueries
from vllm_image_core.errors import DatabaseUnavailable
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.input_store import copy_names, inputs_folder

_logger = logging.getLogger(__name__)

GRACE_SECONDS: Final = 3600
"""Younger copies are kept: they may belong to a batch that is being recorded."""


def remove_unneeded_inputs(journal: Journal) -> None:
    """Delete copies that no batch needs; blocks on disk I/O.

    Batches that can be resumed need their copies, and so do failed requests of the newest batches, which can
    be retried. Errors are logged; a later cleanup tries again.
    """
    path = inputs_folder(journal.root)
    try:
        with Folder.existing(path) as folder:
            if _older(folder, time.time() - GRACE_SECONDS):  # by the local clock, which is cheap
                _sweep(folder, journal)
    except FileNotFoundError:  # there never was an edit, or the folder is gone
        return
    except (OSError, DatabaseUnavailable) as error:
        _logger.warning("Could not clean up the input images in %s: %s", path, error)


def _sweep(folder: Folder, journal: Journal) -> None:
    latest = _latest(folder)
    free = _older(folder, latest) - journal.read(_needed_hashes)
    if free:
        # In one transaction, so that no batch is recorded between the check and the removal.
        journal.write(lambda queries: _remove(folder, free - _needed_hashes(queries), latest))


def _needed_hashes(queries: JournalQueries) -> frozenset[str]:
    return copy_names(queries.edits_to_keep())


def _latest(folder: Folder) -> float:
    """The time before which a copy is old enough, by the file system's own clock."""
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
        if _is_older(folder, name, latest):  # a batch that is being recorded refreshes what it needs
            with suppress(OSError):  # another process may be cleaning up too
                folder.remove(name)
