"""The names of temporary files: hidden, and with a mark of the process that writes them.

By its mark a process finds the files of one that was killed, at once and not after a day.
"""

import hashlib
import re
import secrets
from typing import Final

from vllm_image_core.storage.owner import Owner, is_dead, this_process

__all__ = ["TEMPORARY_END", "TEMPORARY_START", "is_abandoned", "is_temporary", "target_of", "temporary_name"]

TEMPORARY_START: Final = ".img_"
TEMPORARY_END: Final = ".tmp"

_LONGEST: Final = 255
"""Bytes of a name, on nearly every file system."""
_FOR: Final = ".for."
_MARKED: Final = re.compile(
    re.escape(TEMPORARY_START)
    + r"[0-9a-f]{16}\.(?P<pid>[0-9]{1,10})-(?P<born>[0-9]{0,20})-(?P<place>[0-9a-f]{12})"
    + rf"(?:{re.escape(_FOR)}(?P<target>.+))?"
    + re.escape(TEMPORARY_END),
    re.ASCII | re.DOTALL,
)


def temporary_name(*, target: str | None = None) -> str:
    """A new name; with the name that the file is about to get, where there is room for it."""
    me = this_process("")
    mark = f".{me.pid}-{me.born}-{_hash(me.place)}" if me.place else ""
    name = f"{TEMPORARY_START}{secrets.token_hex(8)}{mark}"
    whole = f"{name}{_FOR}{target}{TEMPORARY_END}" if target and mark else ""
    if whole and len(whole.encode(errors="surrogateescape")) <= _LONGEST:
        return whole
    return f"{name}{TEMPORARY_END}"


def is_temporary(name: str) -> bool:
    """Whether a name is one of ours."""
    return name.startswith(TEMPORARY_START) and name.endswith(TEMPORARY_END)


def is_abandoned(name: str) -> bool:
    """Whether it is certain that the writer of a temporary file does not live any more."""
    found = _MARKED.fullmatch(name)
    if found is None:
        return False
    me = this_process("")
    if not me.place or found["place"] != _hash(me.place):
        return False
    return is_dead(Owner(token="", host=me.host, place=me.place, pid=int(found["pid"]), born=found["born"]))


def target_of(name: str) -> str | None:
    """The name that a temporary file was about to get; None where it does not say."""
    found = _MARKED.fullmatch(name)
    return None if found is None else found["target"]


def _hash(place: str) -> str:
    return hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:12]
