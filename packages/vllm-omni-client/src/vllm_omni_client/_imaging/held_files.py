"""Retry file operations that fail while another program has the file open, as virus scanners do on Windows.

Windows refuses to rename, replace or remove a file that is open elsewhere. Scanners, search indexers and
backup programs open each new file for a moment; network shares report the same as EBUSY.
"""

import errno
import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

RETRY_SECONDS: Final = 2.0
"""How long a file may be held before the operation fails; scanners take milliseconds."""

_FIRST_WAIT_SECONDS: Final = 0.01
_LONGEST_WAIT_SECONDS: Final = 0.1
_HELD_ON_WINDOWS: Final = frozenset({32, 33})
"""ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION."""
_DENIED_ON_WINDOWS: Final = 5
"""ERROR_ACCESS_DENIED, also for a file that is open or being deleted."""
_BUSY: Final = frozenset({errno.EBUSY, errno.ETXTBSY})

_ResultT = TypeVar("_ResultT")


class FileHeld(PermissionError):
    """A file could not be renamed, replaced or removed, because another program has it open."""


def retry_while_held(operation: Callable[[], _ResultT]) -> _ResultT:
    """Run an operation on existing files, and repeat it for up to 2 s while another program holds one.

    Raises:
        FileHeld: A file is still held after that time.
        OSError: The system refused the operation for another reason.
    """
    until = time.monotonic() + RETRY_SECONDS
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            return operation()
        except OSError as error:
            if not _may_be_held(error):
                raise
            if time.monotonic() >= until:
                if not is_held(error):
                    raise
                raise FileHeld(error.errno, "another program has the file open", error.filename) from error
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def _may_be_held(error: OSError) -> bool:
    """Return whether the system may have refused an operation because another program has the file open."""
    return is_held(error) or error.errno == errno.EACCES


def is_held(error: OSError) -> bool:
    """Return whether an open file is the reason; on Windows, a missing permission looks the same.

    Whoever may create the file may also rename it, so an open file is far more likely.
    """
    code: int | None = getattr(error, "winerror", None)
    if code is not None:
        return code in _HELD_ON_WINDOWS or code == _DENIED_ON_WINDOWS
    return error.errno in _BUSY or (sys.platform == "win32" and error.errno == errno.EACCES)
