"""Rename a file without replacing another one, in one step, on systems that support it."""

import errno
import os
import sys
from pathlib import Path
from typing import Final

_CALLS: Final = {"linux": ("renameat2", -100, 1), "darwin": ("renameatx_np", -2, 4)}
"""By system: its call, its AT_FDCWD, and its flag for "never replace" (RENAME_NOREPLACE, RENAME_EXCL)."""

_NOT_HERE: Final = frozenset((errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM))
"""Error codes of systems and file systems without this call."""


def rename_if_free(source: str | Path, target: str | Path, *, folder: int | None = None) -> bool:
    """Rename a file unless the new name is taken; False if this system cannot do that in one step.

    Names are relative to an open folder, given by its descriptor, or to the working directory. A name that is
    taken is a FileExistsError.
    """
    if sys.platform == "win32":
        os.rename(source, target)  # noqa: PTH104 - texts and paths alike; on Windows this never replaces
        return True
    name, here, flag = _CALLS.get(sys.platform, ("", 0, 0))
    if not name:
        return False
    import ctypes  # noqa: PLC0415 - few file systems need it

    call = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if call is None:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    at = here if folder is None else folder
    if call(at, os.fsencode(source), at, os.fsencode(target), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))
