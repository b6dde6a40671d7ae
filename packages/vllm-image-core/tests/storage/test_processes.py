"""Which processes are alive, on Linux by /proc and elsewhere by psutil."""

import ctypes
import errno
import itertools
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from vllm_image_core.storage import owner
from vllm_image_core.storage.owner import is_dead, this_process
from vllm_image_core.storage.processes import is_same_start, process_table, start_time

# Emulated where it is not the real one: psutil, which is asked there, knows this system's processes.
SYSTEMS: frozenset[str] = frozenset(("win32", sys.platform))


@pytest.fixture(params=sorted(SYSTEMS))
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    assert psutil.Process().pid == os.getpid()  # it is not imported while the system is emulated
    monkeypatch.setattr(sys, "platform", request.param)
    monkeypatch.setattr(uuid, "getnode", lambda: 0x00_16_3E_12_34_56)
    monkeypatch.setattr("vllm_image_core.storage.owner._process", owner._process.__wrapped__)
    return request.param


@pytest.fixture
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("system")
def test_a_process_is_alive_until_it_is_killed_even_if_nobody_waited_for_it(
    other_process: subprocess.Popen[bytes],
) -> None:
    started = start_time(other_process.pid)
    assert started
    theirs = replace(this_process("token"), pid=other_process.pid, started=started)
    assert theirs.pid_namespace
    assert not is_dead(theirs)
    other_process.kill()
    while start_time(other_process.pid) is not None:
        pass  # until the signal has arrived
    assert is_dead(theirs)


@pytest.mark.usefixtures("system")
def test_another_process_with_the_same_id_is_not_the_owner() -> None:
    me = this_process("token")
    assert not is_dead(me)
    assert not is_dead(replace(me, started=""))
    assert is_dead(replace(me, started="1"))


@pytest.mark.usefixtures("system")
def test_a_process_on_another_machine_is_never_considered_dead() -> None:
    me = this_process("token")
    assert not is_dead(replace(me, pid_namespace="another", pid=2**22 + 1))
    assert not is_dead(replace(me, pid_namespace="", pid=2**22 + 1))


def test_start_times_of_one_process_may_differ_by_a_clock_correction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert is_same_start("1796045596390", "1796045597020")
    assert not is_same_start("1796045596390", "1796045599390")
    assert is_same_start("", "1")
    monkeypatch.setattr(sys, "platform", "linux")
    assert not is_same_start("100", "101")


def test_two_copied_machines_with_the_same_id_are_distinguished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "workstation")
    monkeypatch.setattr("vllm_image_core.storage.processes._installation_of_windows", lambda: "5f9c-guid")
    monkeypatch.setattr(sys, "platform", "win32")  # emulated
    tables: set[str] = set()
    for node in (0x00_16_3E_12_34_56, 0x00_16_3E_12_34_57):
        monkeypatch.setattr(uuid, "getnode", lambda node=node: node)
        tables.add(process_table())
    assert len(tables) == 2


class Mac:
    """The C library of a Mac, emulated: it knows the ID of the boot session."""

    def __init__(self, boot: bytes) -> None:
        self.boot = boot

    def sysctlbyname(
        self, name: bytes, value: ctypes.Array[ctypes.c_char], length: object, new: object, new_length: object
    ) -> int:
        assert name == b"kern.bootsessionuuid"
        value.value = self.boot
        return 0


def test_two_macs_of_one_name_do_not_consider_each_other_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert psutil.Process().pid == os.getpid()  # it is not imported while the system is emulated
    monkeypatch.setattr("socket.gethostname", lambda: "Foxes-MacBook.local")
    monkeypatch.setattr("vllm_image_core.storage.owner._process", owner._process.__wrapped__)
    monkeypatch.setattr(sys, "platform", "darwin")  # emulated
    machines = itertools.cycle((Mac(b"27A0CF4E-0001"), Mac(b"27A0CF4E-0002")))

    def library(_: None) -> Mac:
        return next(machines)

    monkeypatch.setattr(ctypes, "CDLL", library)
    on_the_first = replace(this_process("token"), pid=2**22 + 1)  # no process of the second has this ID
    assert not is_dead(on_the_first)
    assert is_dead(on_the_first)  # asked on the first one


def cannot_read(path: Path, **_: object) -> str:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


@pytest.mark.parametrize("name", ["win32", "darwin", "linux"])
def test_a_machine_without_an_id_is_not_known_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == sys.platform != "linux":
        pytest.skip("the system does identify itself")
    monkeypatch.setattr(sys, "platform", name)
    monkeypatch.setattr(uuid, "getnode", lambda: 1 << 40)  # drawn, as there is no network card
    monkeypatch.setattr(Path, "read_text", cannot_read)
    assert process_table() == ""


@pytest.mark.skipif(sys.platform != "darwin", reason="a Mac's own ID of the boot session")
def test_a_mac_is_identified_by_its_boot_session() -> None:
    assert len(uuid.UUID(process_table()).hex) == 32
