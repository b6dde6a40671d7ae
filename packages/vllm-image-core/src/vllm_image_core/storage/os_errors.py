"""Explain the operating system's errors on files and folders, and suggest what to do about them."""

import errno
import os
from pathlib import Path
from typing import Final

from vllm_omni_client.imaging import FileHeld

from vllm_image_core.text import system_reason

_LOOP_ON_WINDOWS: Final = 1921
"""ERROR_CANT_RESOLVE_FILENAME, for which Python has no error number of its own."""

_NEXT_STEPS: Final = {
    errno.ENOSPC: "Free some space on that disk, or choose another output folder.",
    errno.EDQUOT: "Your quota on that disk is used up: remove files, or choose another output folder.",
    errno.EFBIG: "The system limits how large a file may be (ulimit -f): raise it, or choose another folder.",
    errno.EROFS: "That disk is read-only: choose another output folder.",
    errno.EACCES: "Choose an output folder that you can write to, or change that folder's permissions.",
    errno.EPERM: "Choose an output folder that you can write to, or change that folder's permissions.",
    errno.ENOTDIR: "A file is in the way: choose another output folder.",
    errno.EEXIST: "A file is in the way: choose another output folder.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n), or generate fewer images at once.",
    errno.ENAMETOOLONG: "Choose an output folder with a shorter path.",
    errno.ELOOP: "A symbolic link in the path leads back to itself: choose another output folder.",
    errno.ESTALE: "The network folder was remounted or is gone: restore it, or choose another folder.",
}


def reason_of(error: OSError | UnicodeError) -> str:
    """Say what went wrong, with the system's own name for the error."""
    if isinstance(error, UnicodeError):
        return "the path has characters that filenames on this system cannot have"
    code = errno.errorcode.get(error.errno or 0, "no error number")
    return f"{system_reason(error)} ({code})"


def next_step_after(error: OSError | UnicodeError, *, otherwise: str) -> str:
    """Say what to do next: specific to the error if possible, and `otherwise` if not."""
    if isinstance(error, UnicodeError):
        return "Choose another output folder."
    if isinstance(error, FileHeld):
        return (
            "Close the program that has it open, or exclude the output folder from virus scans and backups, "
            "and try again."
        )
    is_loop = getattr(error, "winerror", None) == _LOOP_ON_WINDOWS
    return _NEXT_STEPS.get(errno.ELOOP if is_loop else error.errno or 0, otherwise)


def is_encodable(path: Path | str) -> bool:
    """Return whether the system's file name encoding has all the characters of this name."""
    try:
        os.fsencode(path)
    except UnicodeError:
        return False
    return True
