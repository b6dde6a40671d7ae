"""A library: the folder of the pictures, its index, and a place for what cannot be written there."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from vllm_image_core.errors import (
    BadPicture,
    CannotSave,
    IndexUnavailable,
    JournalUnavailable,
    PictureNotSaved,
)
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.requests.content_hash import ContentKey
from vllm_image_core.storage.database import FOLDER, JOURNAL_FILE
from vllm_image_core.storage.file_locks import can_lock
from vllm_image_core.storage.filename import check_filename
from vllm_image_core.storage.folder import Folder, is_there
from vllm_image_core.storage.index import Index, Page
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.record import Facts, Record, facts_in, record
from vllm_image_core.storage.store import Store
from vllm_image_core.text import LONGEST_PATH, one_line

__all__ = ["Existing", "Library", "Saved"]

_logger = logging.getLogger(__name__)

_MOST_BYTES: Final = 2**30
"""No picture that is taken back is larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Where a picture was written.

    Attributes:
        path: Absolute.
        spilled: Whether that is not the library's folder.
        notes: What is to be told about it.
    """

    path: Path
    spilled: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """A picture that was there already, whole."""

    picture: Picture
    record: Record


class Library:
    """Saves pictures in one folder, enters them in its index, and finds them again.

    Its methods wait for the disk: call them from a thread where an event loop runs.

    Args:
        root: The folder; may be a symbolic link to one. Made when it is first needed.
        spill_dir: Where a picture goes that was made and cannot be written in that folder. None for a new
            folder of this user alone under the system's folder for temporary files, made when it is needed.
        check_space: Whether the free space is looked at before anything is sent.

    Raises:
        CannotSave: The path can be that of no folder.
    """

    def __init__(self, root: Path, *, spill_dir: Path | None = None, check_space: bool = True) -> None:
        self._store = Store(root)
        self._index = Index(self._store.root)
        self._spill = None if spill_dir is None else Store(spill_dir)
        self._check_space = check_space
        self._locks_are_known = False

    @property
    def root(self) -> Path:
        """The folder of the pictures, absolute."""
        return self._store.root

    def check_writable(self, *, pixels: int) -> None:
        """Make the folder, compare its free space with what is needed, and write a file there as a test.

        Raises:
            NotEnoughSpace: Pictures with so many pixels together need more than is free.
            CannotSave: The folder cannot be made or written.
        """
        self.check_space(pixels=pixels)
        self._store.check_writable()

    def sweep(self) -> None:
        """Remove what killed processes have left in the folder, unless that was done."""
        self._store.sweep()

    def check_space(self, *, pixels: int) -> None:
        """Compare the free space with what pictures with so many pixels together need.

        Raises:
            NotEnoughSpace: That is more.
        """
        if self._check_space:
            self._store.check_space(pixels=pixels)

    def check_there(self) -> None:
        """Find out whether the folder is there, and the journal of batches in it; nothing is made.

        Raises:
            CannotSave: It is not: it was moved or removed, or its disk is gone.
        """
        journal = self.root / FOLDER / JOURNAL_FILE
        try:
            there = is_there(journal)
        except OSError as error:
            raise CannotSave(
                f"The journal of batches {one_line(str(journal), limit=300)} cannot be used: "
                f"{reason_of(error)}.",
                next_step=next_step_after(error, otherwise=JournalUnavailable.usual_next_step),
            ) from error
        if not there:
            raise CannotSave(
                f"The output folder {one_line(str(self.root), limit=300)} is not as it was: its journal of "
                "batches is not there any more.",
                next_step="Bring the folder back; the batch goes on when it is there.",
            )

    def check_again(self, *, pixels: int) -> None:
        """Find out whether a folder that could not be written can be again; nothing is made anew.

        Raises:
            CannotSave: It cannot.
        """
        self.check_there()
        self.check_writable(pixels=pixels)

    def save(
        self,
        picture: Picture,
        facts: Facts,
        *,
        prompt: str,
        now: datetime,
        filename: str | None = None,
        spill: bool = True,
    ) -> Saved:
        """Write a picture and enter it in the index.

        Args:
            picture: With how it was made in its file already.
            facts: The same, for the index.
            prompt: For the name, where none is given.
            now: The local time, likewise.
            filename: A plain name.
            spill: Whether it goes to the spill folder where the folder does not take it.

        Raises:
            InvalidRequest: The filename is not allowed; nothing was written.
            PictureNotSaved: It could not be written in the folder, nor in the spill folder.
        """
        try:
            path = self._store.save(picture, prompt=prompt, now=now, filename=filename)
        except PictureNotSaved as error:
            if not spill:
                raise
            return self._save_to_spill(error, prompt=prompt, now=now, filename=filename)
        return Saved(path=path, notes=(*self._add_to_index(path, picture, facts), *self._about_locks()))

    def in_batch(self, batch: str, positions: Sequence[int]) -> Mapping[int, Record]:
        """The pictures of some requests of a batch that are in the folder, by their positions; at most 500.

        Raises:
            IndexUnavailable: The index cannot be read or written.
        """
        return self._index.in_batch(batch, positions)

    def existing(self, key: ContentKey) -> Existing | None:
        """A picture that was made from a request with this key, read from its file and found whole.

        None where there is none, or where the index cannot tell.
        """
        try:
            candidates = self._index.with_key(key)
        except IndexUnavailable as error:
            _logger.warning("%s", error.message)
            return None
        wholes = (self._whole(candidate) for candidate in candidates)
        return next((whole for whole in wholes if whole is not None), None)

    def place_existing(self, existing: Existing, *, filename: str, now: datetime) -> Saved:
        """A picture that is there already, under a name that was asked for: a copy, unless it has that name.

        Raises:
            InvalidRequest: The filename is not allowed.
            PictureNotSaved: The copy could not be written.
        """
        if check_filename(filename) == existing.record.path.stem:
            return Saved(path=existing.record.path)
        facts = facts_in(existing.picture.bytes)
        return self.save(
            existing.picture, facts, prompt=existing.record.prompt or "", now=now, filename=filename
        )

    def find(self, query: Query) -> Page:
        """Some of the pictures, newest first.

        Raises:
            IndexUnavailable: The index cannot be read or written.
        """
        return self._index.find(query)

    def _about_locks(self) -> tuple[str, ...]:
        """What to say of a folder without locks, with the first picture that is saved in it."""
        known, self._locks_are_known = self._locks_are_known, True
        if known or can_lock(self.root):
            return ()
        note = (
            f"The file system of {one_line(str(self.root), limit=LONGEST_PATH)} has no file locks; files of "
            "that purpose are used instead. Let only one machine at a time save pictures there."
        )
        _logger.warning("%s", note)
        return (note,)

    def _add_to_index(self, path: Path, picture: Picture, facts: Facts) -> tuple[str, ...]:
        """Enter a picture that is saved; nothing that goes wrong here takes it away again."""
        try:
            self._index.add(record(path, path.lstat(), picture.size, facts))
        except IndexUnavailable as error:
            return (f"The picture is saved, but not in the index. {error.message} {error.next_step}",)
        except FileNotFoundError:
            return ("The picture was saved, and removed by somebody else at once.",)
        except OSError as error:
            return (f"The picture is saved, but not in the index: {reason_of(error)}.",)
        return ()

    def _save_to_spill(
        self, error: PictureNotSaved, *, prompt: str, now: datetime, filename: str | None
    ) -> Saved:
        try:
            path = self._spill_store().save(error.picture, prompt=prompt, now=now, filename=filename)
        except (CannotSave, OSError, UnicodeError) as second:
            told = second.message if isinstance(second, CannotSave) else f"{reason_of(second)}."
            raise PictureNotSaved(
                f"{error.message} The spill folder does not take the picture either: {told}",
                picture=error.picture,
                next_step=f"{error.next_step} The picture is in this error, as `picture`.",
            ) from error
        where = one_line(str(path), limit=LONGEST_PATH)
        note = f"The picture is not in the output folder but in {where}. {error.message} {error.next_step}"
        _logger.warning("%s", note)
        return Saved(path=path, spilled=True, notes=(note,))

    def _spill_store(self) -> Store:
        # A folder of a fixed name there could be another user's.
        self._spill = self._spill or Store(Path(tempfile.mkdtemp(prefix="vllm-image-spill-")))
        return self._spill

    def _whole(self, candidate: Record) -> Existing | None:
        try:
            data = self._content(candidate)
            picture = None if data is None else Picture.check(data)
        except (OSError, BadPicture):
            return None
        if data is None or picture is None:
            return None
        key = facts_in(data).get("key")
        # A file that tells nothing must be the very one that was entered.
        is_the_one = key == candidate.key if key is not None else len(data) == candidate.bytes
        return Existing(picture=picture, record=candidate) if is_the_one else None

    def _content(self, candidate: Record) -> bytes | None:
        with Folder.existing(self.root) as folder, folder.reading(candidate.path.name) as file:
            return None if file is None else file.read(_MOST_BYTES)
