"""Check the output folder: whether it is writable and lockable, its free space, and who else uses it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vllm_image_core.batches.journal import Journal
from vllm_image_core.errors import CannotSave, JournalUnavailable
from vllm_image_core.storage.disk_space import required_bytes
from vllm_image_core.storage.file_locks import can_lock
from vllm_image_core.text import LONGEST_PATH, one_line

from vllm_image_mcp.doctor.finding import Finding, Status
from vllm_image_mcp.error_messages import next_step
from vllm_image_mcp.output_folder import OutputFolder, existing_part, refusal_of

_ONE_IMAGE: Final = 1024 * 1024
"""Pixels."""
_FEW_IMAGES: Final = 100
"""Room for fewer images than this is worth a warning."""
_BATCHES_SEARCHED: Final = 100


def check_folder(folder: OutputFolder) -> Iterator[Finding]:
    """Yield the findings about the output folder; the folder is not created."""
    writable = check_writable(folder)
    yield writable
    if writable.status == "failed":
        return
    there = existing_part(folder.path)
    yield check_space(there)
    yield check_locks(there)
    yield from check_batches(folder.path)


def check_writable(folder: OutputFolder) -> Finding:
    """Whether images can be saved in the folder, by writing a test file."""
    refusal = folder.refusal or refusal_of(folder.path)
    if isinstance(refusal, CannotSave):
        return _finding(folder.path, "folder", "failed", refusal.message, next_step(refusal))
    if folder.note:
        fix = "Set an absolute --output-dir that is writable, if you want another folder."
        return _finding(folder.path, "folder", "warning", folder.note, fix)
    return _finding(folder.path, "folder", "ok", "Images can be saved there.")


def check_space(folder: Path) -> Finding:
    """Whether the disk has room for images."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return _finding(folder, "disk space", "info", f"The free space is unknown: {error.strerror}.")
    room = free // required_bytes(_ONE_IMAGE)
    if room >= _FEW_IMAGES:
        return _finding(folder, "disk space", "ok", f"{free / 1e9:,.1f} GB are free.")
    fix = "Free some space on that disk, or choose another folder with --output-dir."
    detail = f"{free / 1e6:,.1f} MB are free: room for about {room:,} images of 1024x1024."
    return _finding(folder, "disk space", "warning" if room else "failed", detail, fix)


def check_locks(folder: Path) -> Finding:
    """Whether the file system has file locks, which the index and the journal of batches use."""
    if can_lock(folder):
        return _finding(folder, "locks", "ok", "Its file system supports file locks.")
    return _finding(
        folder,
        "locks",
        "warning",
        "Its file system has no file locks; lock files are used instead, which is slower.",
        "Set --output-dir to a local disk, or mount the share with locks (NFS: without nolock).",
    )


def check_batches(folder: Path) -> Iterator[Finding]:
    """Yield which other processes work on batches in the folder, and which batches were interrupted."""
    try:
        batches = Journal(folder).batches(_BATCHES_SEARCHED)
    except JournalUnavailable as error:
        yield _finding(folder, "batches", "warning", error.message, next_step(error))
        return
    others = [each for each in batches if each.owner == "elsewhere"]
    if others:
        who = ", ".join(f"{each.id} (process {each.pid} on {one_line(each.host or '?')})" for each in others)
        yield _finding(folder, "batches", "info", f"Other processes work on batches there: {who}.")
    for each in batches:
        if each.state == "interrupted":
            detail = f"The batch {each.id} was interrupted after {each.done} of {each.recorded} images."
            yield _finding(folder, "batches", "info", detail, f"Run `vllm-image-mcp resume {each.id}`.")


def _finding(folder: Path, check: str, status: Status, detail: str, fix: str = "") -> Finding:
    subject = one_line(str(folder), limit=LONGEST_PATH)
    return Finding(check=check, status=status, detail=detail, fix=fix, subject=subject)
