"""Save images in the output folder (or a spill folder if that fails), index them and find them again."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
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
from vllm_image_core.storage.filename import automatic_stem, check_filename, normal_form
from vllm_image_core.storage.folder import Folder, exists
from vllm_image_core.storage.index import Index
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.storage.record import Facts, Record, facts_in, record
from vllm_image_core.storage.search import Search
from vllm_image_core.storage.spill_folder import CANNOT_SPILL, SpillFolder
from vllm_image_core.storage.store import Store
from vllm_image_core.storage.subfolders import name_in
from vllm_image_core.text import LONGEST_PATH, one_line

_logger = logging.getLogger(__name__)

_MOST_BYTES: Final = 2**30
"""Maximum bytes read from an image file in order to reuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Where an image was written.

    Attributes:
        path: Absolute path of the file.
        spilled: Whether it is in the spill folder, not in the library's folder.
        notes: What the user should know about it.
    """

    path: Path
    spilled: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """A complete image that was already in the folder."""

    picture: Picture
    record: Record


class Library:
    """Saves images in one folder, adds them to its index, and finds them again.

    Its methods block on the disk: under an event loop, call them in a thread. They raise what the store and
    the index do: `NotEnoughSpace` and other `CannotSave`, and `IndexUnavailable`.

    Args:
        root: The folder; may be a symbolic link to one. Created when first needed.
        spill_dir: Where an image goes if it cannot be written to `root`. None for a new private folder next
            to it, or else in the system's temporary folder, created when needed.
        check_space: Whether the free space is checked before anything is sent.
        group_seconds: For how long saved images may wait to be added to the index together.

    Attributes:
        root: The folder of the images, absolute.
        search: Finds images in it.

    Raises:
        CannotSave: The path cannot be that of a folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        spill_dir: Path | None = None,
        check_space: bool = True,
        group_seconds: float = 0.0,
    ) -> None:
        self._store = Store(root)
        self.root: Path = self._store.root
        self._index = Index(self._store.root, group_seconds=group_seconds)
        self.search: Search = Search(self._store.root, self._index)
        self._spill = SpillFolder(self.root, None if spill_dir is None else Store(spill_dir).root)
        self._check_space = check_space
        self._locks_checked = False
        self._journal_file = self.root / FOLDER / JOURNAL_FILE

    def check_writable(self, *, pixels: int) -> None:
        """Create the folder, check its free space, and write a test file there."""
        self.check_space(pixels=pixels)
        self._store.check_writable()

    def check_subfolder(self, filename: str | None) -> None:
        """Refuse a filename in a folder that is a link or a file; see `Store.check_subfolder`."""
        self._store.check_subfolder(filename)

    def sweep(self) -> None:
        """Remove what killed processes left in the folder, unless that was done before."""
        self._store.sweep()

    def check_space(self, *, pixels: int) -> None:
        """Compare the free space with what images with this total number of pixels need."""
        if self._check_space:
            self._store.check_space(pixels=pixels)

    def check_exists(self) -> None:
        """Check that the folder and its journal exist: it may have been moved, or its disk be gone."""
        try:
            there = exists(self._journal_file)
        except OSError as error:
            raise CannotSave(
                f"The journal of batches {one_line(str(self._journal_file), limit=300)} cannot be used: "
                f"{reason_of(error)}.",
                next_step=next_step_after(error, otherwise=JournalUnavailable.usual_next_step),
            ) from error
        if not there:
            raise CannotSave(
                f"The output folder {one_line(str(self.root), limit=300)} has changed: its journal of "
                "batches is no longer there.",
                next_step="Restore the folder; the batch continues as soon as it is back.",
            )

    def check_again(self, *, pixels: int) -> None:
        """Check whether a folder that refused files is usable again; a lost one is not recreated."""
        self.check_exists()
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
        self_describing: bool = False,
    ) -> Saved:
        """Write an image and add it to the index.

        Args:
            picture: The image, whose bytes already include how it was made.
            facts: How it was made, for the index.
            prompt: Used for the automatic name if no filename is given.
            now: The local time, used in the same way.
            filename: A name, or a path below the folder.
            spill: Whether the image goes to the spill folder if it cannot be written to this one.
            self_describing: Whether the file itself holds all facts: if the process dies before the image is
                in the index, they are read from there.

        Raises:
            InvalidRequest: The filename is not allowed; nothing was written.
            PictureNotSaved: The image could not be written to this folder or to the spill folder.
        """
        try:
            path = self._store.save(picture, prompt=prompt, now=now, filename=filename)
        except PictureNotSaved as error:
            if not spill:
                raise
            return self._save_to_spill(error, prompt=prompt, now=now, filename=filename)
        notes = self._add_to_index(path, picture, facts, now=not self_describing)
        return Saved(path=path, notes=(*notes, *self._lock_notes()))

    def in_batch(self, batch: str, positions: Sequence[int]) -> Mapping[int, Record]:
        """Return the images of some requests of a batch that are in the folder, by position; at most 500."""
        return self._index.in_batch(batch, positions)

    def existing(self, key: ContentKey) -> Existing | None:
        """Find a complete image that was generated from a request with this content hash, and read it.

        Returns None if there is none, or if the index cannot be read.
        """
        try:
            candidates = self._index.with_key(key)
        except IndexUnavailable as error:
            _logger.warning("%s", error.message)
            return None
        complete = (self._read_complete(candidate) for candidate in candidates)
        return next((existing for existing in complete if existing is not None), None)

    def place_existing(self, existing: Existing, *, filename: str, now: datetime) -> Saved:
        """Provide an existing image under a requested name: copy it, unless it already has that name."""
        there = PurePosixPath(name_in(self.root, existing.record.path))
        if check_filename(filename) == normal_form(str(there.with_suffix(""))):
            return Saved(path=existing.record.path)
        facts = facts_in(existing.picture.bytes)
        return self.save(
            existing.picture, facts, prompt=existing.record.prompt or "", now=now, filename=filename
        )

    def _lock_notes(self) -> tuple[str, ...]:
        """Return a note, with the first saved image, if the file system does not support locks."""
        known, self._locks_checked = self._locks_checked, True
        if known or can_lock(self.root):
            return ()
        note = (
            f"The file system of {one_line(str(self.root), limit=LONGEST_PATH)} does not support file locks; "
            "lock files are used instead. Save images there from only one machine at a time."
        )
        _logger.warning("%s", note)
        return (note,)

    def flush(self) -> None:
        """Add to the index what still waits for it.

        Raises:
            IndexUnavailable: It cannot be written; the next query reads the files instead.
        """
        self._index.flush()

    def _add_to_index(self, path: Path, picture: Picture, facts: Facts, *, now: bool) -> tuple[str, ...]:
        """Add a saved image to the index; return errors as notes, because the image itself is safe."""
        try:
            self._index.add(record(path, path.lstat(), picture.size, facts), now=now)
        except IndexUnavailable as error:
            return (f"The image is saved, but is not in the index. {error.message} {error.next_step}",)
        except FileNotFoundError:
            return ("The image was saved, but another program removed it immediately afterwards.",)
        except OSError as error:
            return (f"The image is saved, but is not in the index: {reason_of(error)}.",)
        return ()

    def _save_to_spill(
        self, error: PictureNotSaved, *, prompt: str, now: datetime, filename: str | None
    ) -> Saved:
        try:
            path = self._spill.save(error.picture, check_filename(filename) or automatic_stem(prompt, now))
        except CANNOT_SPILL as second:
            spill = f" {one_line(str(self._spill.path), limit=LONGEST_PATH)}" if self._spill.path else ""
            raise PictureNotSaved(
                f"{error.message} It could not be written to the spill folder{spill} either: "
                f"{reason_of(second)}.",
                picture=error.picture,
                next_step=f"{error.next_step} The image is in the `picture` attribute of this error.",
            ) from error
        where = one_line(str(path), limit=LONGEST_PATH)
        note = (
            f"The image was saved to {where} instead of the output folder. {error.message} {error.next_step}"
        )
        _logger.warning("%s", note)
        return Saved(path=path, spilled=True, notes=(note,))

    def _read_complete(self, candidate: Record) -> Existing | None:
        try:
            *folders, name = name_in(self.root, candidate.path).split("/")
            with (
                Folder.within(self.root, folders, create=False) as folder,
                folder.reading(name) as file,
            ):
                data = None if file is None else file.read(_MOST_BYTES)
            picture = None if data is None else Picture.check(data)
        except (OSError, BadPicture):
            return None
        if data is None or picture is None:
            return None
        key = facts_in(data).get("key")
        # A file without a recorded key must be the one that was entered.
        is_the_one = key == candidate.key if key is not None else len(data) == candidate.bytes
        return Existing(picture=picture, record=candidate) if is_the_one else None
