"""Identify the process that runs a batch, and check whether it is still alive."""

import functools
import os
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

HEARTBEAT_SECONDS: Final = 2.0
"""How often (s) the owner of a batch increments its counter to show that it is alive."""

STALE_SECONDS: Final = 15.0
"""A batch may be taken over if its owner's counter has not moved for this long (observer's clock)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that runs a batch.

    Attributes:
        token: A unique token of this process for this batch.
        host: The name of the machine, for people.
        place: Identifies the boot of the machine and the PID namespace, which only processes that can see
            each other's PIDs share. Empty if the system does not provide this.
        pid: Its process ID.
        born: Its start time in the system's units, because PIDs are reused. Empty if not available.
    """

    token: str
    host: str
    pid_namespace: str
    pid: int
    started: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """An owner as another process sees it.

    Attributes:
        owner: The owner.
        beat: Its counter; if it moves, the owner is alive.
    """

    owner: Owner
    heartbeat: int


def this_process(token: str) -> Owner:
    """Describe this process as an owner."""
    return replace(_process(os.getpid()), token=token)


@functools.lru_cache(maxsize=1)  # each image asks; a forked process has another ID
def _process(pid: int) -> Owner:
    return Owner(
        token="", host=socket.gethostname(), pid_namespace=_place(), pid=pid, started=_start_time(pid)
    )


def is_dead(owner: Owner) -> bool:
    """Return whether an owner is certainly dead; False if that cannot be determined from here."""
    if not owner.pid_namespace or owner.pid_namespace != _place():
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it belongs to another user
    return bool(owner.started) and _start_time(owner.pid) != owner.started


def _place() -> str:
    if sys.platform == "win32":
        return ""  # on Windows, os.kill(pid, 0) would end the process
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
    """Return the 22nd field of /proc/PID/stat; the second, a name in parentheses, may contain anything."""
    _, _, rest = _read(Path(f"/proc/{pid}/stat")).rpartition(")")
    found = rest.split()
    return found[19] if len(found) > 19 and found[0] not in {"Z", "X"} else ""  # noqa: PLR2004 - counted from the third


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
