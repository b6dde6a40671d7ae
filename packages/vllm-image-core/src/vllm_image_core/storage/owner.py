"""A lease: which process works on a batch, and whether it still lives."""

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["STALE_SECONDS", "Holder", "Owner", "is_dead", "this_process"]

BEAT_SECONDS: Final = 2.0
"""How often the owner of a batch shows that it lives, by counting up."""

STALE_SECONDS: Final = 15.0
"""An owner whose counter has stood still for so long, on the clock of who looks, has lost its batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that works on a batch.

    Attributes:
        token: Its own for this batch; nobody else has it.
        host: The machine's name, for people.
        place: What only processes share that see each other's numbers: this boot of the machine, and its
            space of process numbers. Empty where the system tells no such thing.
        pid: Its number.
        born: When it began, as the system counts; empty where that is not told. A number is used again.
    """

    token: str
    host: str
    place: str
    pid: int
    born: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """An owner as another process finds it.

    Attributes:
        owner: Who.
        beat: Its counter; one that moves is alive.
    """

    owner: Owner
    beat: int


def this_process(token: str) -> Owner:
    """This process as an owner."""
    pid = os.getpid()
    return Owner(token=token, host=socket.gethostname(), place=_place(), pid=pid, born=_start_time(pid))


def is_dead(owner: Owner) -> bool:
    """Whether it is certain that an owner does not live any more; False where nobody can tell from here."""
    if not owner.place or owner.place != _place():
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is another user's
    return bool(owner.born) and _start_time(owner.pid) != owner.born


def _place() -> str:
    if sys.platform == "win32":
        return ""  # there a process cannot be asked for without being ended
    boot = _read(Path("/proc/sys/kernel/random/boot_id"))
    if not boot:
        return socket.gethostname()
    return f"{boot}/{_namespace()}"


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """The 22nd field of /proc/PID/stat; the second, a name in brackets, may hold anything."""
    _, _, rest = _read(Path(f"/proc/{pid}/stat")).rpartition(")")
    found = rest.split()
    return found[19] if len(found) > 19 and found[0] not in {"Z", "X"} else ""  # noqa: PLR2004 - counted from the third


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
