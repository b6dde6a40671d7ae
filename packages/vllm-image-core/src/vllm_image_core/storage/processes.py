"""Find out when a process started, and which processes this one can look up, on which machine.

Linux provides both in /proc. On Windows and on a Mac, psutil reads the start times, and the system names the
machine or the time since it was started.
"""

import os
import socket
import sys
import uuid
from pathlib import Path
from typing import Any, Final

_ENDED: Final = frozenset({"Z", "X"})
"""States of a process that has ended and was not waited for."""
_JITTER_MS: Final = 2_000
"""How far two readings of one start time may differ: they are times of day, which get corrected."""
_LONGEST_NAME: Final = 256
_MADE_UP: Final = 1 << 40
"""The bit of an address that `uuid` drew, because it found no network card."""


def process_table() -> str:
    """Identify the processes that can be looked up from here: those of one machine, boot and container.

    Two processes with equal identities can see each other's process IDs. "" if the system does not identify
    them: a machine's name is not enough, since two machines can have the same one.
    """
    match sys.platform:
        case "win32":
            machine = _machine_of_windows()
            return f"{socket.gethostname()}/{machine}" if machine else ""
        case "darwin":
            return _boot_of_mac()
        case _:
            boot = _read(Path("/proc/sys/kernel/random/boot_id"))
            return f"{boot}/{_pid_namespace()}" if boot else ""


def start_time(pid: int) -> str | None:
    """Return when a process started, in the system's units; "" if unknown, None if there is none."""
    if sys.platform in {"win32", "darwin"}:
        return _ask_psutil(pid)
    # The second field, a name in parentheses, may contain anything.
    _, _, rest = _read(Path(f"/proc/{pid}/stat")).rpartition(")")
    found = rest.split()
    if len(found) <= 19:  # noqa: PLR2004 - the 22nd field, counted from the third
        return None if _is_free(pid) else ""
    return None if found[0] in _ENDED else found[19]


def is_same_start(one: str, other: str) -> bool:
    """Return whether two readings of a start time may be of the same process; an unknown one may be."""
    if not one or not other or one == other:
        return True
    if sys.platform not in {"win32", "darwin"} or not (one.isdecimal() and other.isdecimal()):
        return False
    return abs(int(one) - int(other)) <= _JITTER_MS


def _ask_psutil(pid: int) -> str | None:
    try:
        import psutil  # noqa: PLC0415 - slow to import, and not needed on Linux
    except (ImportError, NotImplementedError):  # it does not support this system
        return ""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return str(round(process.create_time() * 1000))
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:  # it belongs to another user
        return ""


def _is_free(pid: int) -> bool:
    """Return whether no process has this ID, for systems that do not show all processes in /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it belongs to another user
        return False
    return False


def _machine_of_windows() -> str:
    """Return the IDs of this installation of Windows and of its network card: copies share the first."""
    return "/".join(filter(None, (_installation_of_windows(), _network_card())))


def _network_card() -> str:
    node = uuid.getnode()
    return "" if node & _MADE_UP else f"{node:012x}"


def _installation_of_windows() -> str:
    try:
        import winreg  # noqa: PLC0415 - only Windows has it

        registry: Any = winreg
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography") as key:
            return str(registry.QueryValueEx(key, "MachineGuid")[0])
    except (ImportError, OSError):
        return ""


def _boot_of_mac() -> str:
    """Return the ID that a Mac gives to each start of the system."""
    import ctypes  # noqa: PLC0415 - only needed on a Mac

    try:
        call = ctypes.CDLL(None).sysctlbyname
    except (OSError, AttributeError):
        return ""
    value = ctypes.create_string_buffer(_LONGEST_NAME)
    length = ctypes.c_size_t(len(value))
    failed = call(b"kern.bootsessionuuid", value, ctypes.byref(length), None, ctypes.c_size_t(0))
    return "" if failed else value.value.decode("ascii", "replace")


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
