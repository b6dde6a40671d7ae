"""Identify the process that runs a batch, and check whether it is still alive."""

import functools
import os
import socket
from dataclasses import dataclass, replace
from typing import Final

from vllm_image_core.storage.processes import is_same_start, process_table, start_time

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
        pid_namespace: Identifies the processes that can see each other's PIDs; see `process_table`. Empty if
            the system does not provide this.
        pid: Its process ID.
        started: Its start time in the system's units, because PIDs are reused. Empty if not available.
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
        heartbeat: Its counter; if it moves, the owner is alive.
    """

    owner: Owner
    heartbeat: int


def this_process(token: str) -> Owner:
    """Describe this process as an owner."""
    process = _process(os.getpid())
    return replace(process, token=token) if token else process


@functools.lru_cache(maxsize=1)  # each image asks; a forked process has another ID
def _process(pid: int) -> Owner:
    return Owner(
        token="",
        host=socket.gethostname(),
        pid_namespace=process_table(),
        pid=pid,
        started=start_time(pid) or "",
    )


def is_dead(owner: Owner) -> bool:
    """Return whether an owner is certainly dead; False if that cannot be determined from here."""
    if not owner.pid_namespace or owner.pid_namespace != process_table():
        return False
    started = start_time(owner.pid)
    return started is None or not is_same_start(owner.started, started)
