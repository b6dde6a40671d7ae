"""Name temporary files so that those of a dead process can be recognised and removed.

The names are hidden, and hold a mark of the writing process. With the mark, the files of a killed process are
found at once; without it, only after a day.
"""

import hashlib
import re
import secrets
from typing import Final

from vllm_image_core.storage.owner import Owner, is_dead, this_process

TEMPORARY_START: Final = ".img_"
TEMPORARY_END: Final = ".tmp"

_LONGEST: Final = 255
"""Maximum length of a name in bytes, on nearly every file system."""
_FOR: Final = ".for."
_MARKED: Final = re.compile(
    re.escape(TEMPORARY_START)
    + r"[0-9a-f]{16}\.(?P<pid>[0-9]{1,10})-(?P<born>[0-9]{0,20})-(?P<place>[0-9a-f]{12})"
    + rf"(?:{re.escape(_FOR)}(?P<target>.+))?"
    + re.escape(TEMPORARY_END),
    re.ASCII | re.DOTALL,
)


def temporary_name(*, target: str | None = None) -> str:
    """Return a new name; it includes the name that the file is about to get, if there is room for it."""
    me = this_process("")
    mark = f".{me.pid}-{me.started}-{_hash(me.pid_namespace)}" if me.pid_namespace else ""
    name = f"{TEMPORARY_START}{secrets.token_hex(8)}{mark}"
    with_target = f"{name}{_FOR}{target}{TEMPORARY_END}" if target and mark else ""
    if with_target and len(with_target.encode(errors="surrogateescape")) <= _LONGEST:
        return with_target
    return f"{name}{TEMPORARY_END}"


def is_temporary(name: str) -> bool:
    """Return whether a name is that of one of our temporary files."""
    return name.startswith(TEMPORARY_START) and name.endswith(TEMPORARY_END)


def is_abandoned(name: str) -> bool:
    """Return whether the writer of a temporary file is certainly dead."""
    found = _MARKED.fullmatch(name)
    if found is None:
        return False
    me = this_process("")
    if not me.pid_namespace or found["place"] != _hash(me.pid_namespace):
        return False
    return is_dead(
        Owner(
            token="",
            host=me.host,
            pid_namespace=me.pid_namespace,
            pid=int(found["pid"]),
            started=found["born"],
        )
    )


def target_of(name: str) -> str | None:
    """Return the name that a temporary file was about to get; None if it does not include one."""
    found = _MARKED.fullmatch(name)
    return None if found is None else found["target"]


def _hash(place: str) -> str:
    return hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:12]
