"""Report the Python interpreter and, on Linux, the process at /metrics, as the Prometheus client does."""

import gc
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from vllm_omni_client.simulator.http.prometheus_text import MetricFamily

_PROC: Final = Path("/proc")
_BOOT_TIME: Final = "btime "
_VIRTUAL_BYTES, _RESIDENT_PAGES, _START_TICKS, _USER_TICKS, _SYSTEM_TICKS = 20, 21, 19, 11, 12
"""Positions in `/proc/self/stat` after the command's name (proc(5))."""


def process_families() -> Sequence[MetricFamily]:
    """Return the metric families with their current values."""
    return (*_gc_families(), _python_info(), *_process_families())


def _gc_families() -> Iterator[MetricFamily]:
    for name, statistic, about in (
        ("python_gc_objects_collected", "collected", "Objects collected during gc"),
        ("python_gc_objects_uncollectable", "uncollectable", "Uncollectable objects found during GC"),
        ("python_gc_collections", "collections", "Number of times this generation was collected"),
    ):
        family = MetricFamily(name, about, "counter", "_total", has_created_series=False)
        for generation, statistics in enumerate(gc.get_stats()):
            family.set((("generation", str(generation)),), statistics[statistic])
        yield family


def _python_info() -> MetricFamily:
    major, minor, patch = platform.python_version_tuple()
    family = MetricFamily("python_info", "Python platform information", "gauge")
    labels = (
        ("implementation", platform.python_implementation()),
        ("major", major),
        ("minor", minor),
        ("patchlevel", patch),
        ("version", platform.python_version()),
    )
    family.set(labels, 1.0)
    return family


def _process_families() -> Iterator[MetricFamily]:
    """Yield the families of the process, or nothing without `/proc`, like the Prometheus client."""
    try:
        numbers = _process_stat()
        boot_time = _boot_time()
        limit = _open_files_limit()
        open_files = len(list((_PROC / "self" / "fd").iterdir()))
    except (OSError, ValueError, IndexError):
        return
    ticks = os.sysconf("SC_CLK_TCK")
    resident = numbers[_RESIDENT_PAGES] * os.sysconf("SC_PAGE_SIZE")
    spent = (numbers[_USER_TICKS] + numbers[_SYSTEM_TICKS]) / ticks
    for name, about, value in (
        ("virtual_memory_bytes", "Virtual memory size in bytes.", numbers[_VIRTUAL_BYTES]),
        ("resident_memory_bytes", "Resident memory size in bytes.", resident),
        (
            "start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            boot_time + numbers[_START_TICKS] / ticks,
        ),
        ("cpu_seconds", "Total user and system CPU time spent in seconds.", spent),
        ("open_fds", "Number of open file descriptors.", open_files),
        ("max_fds", "Maximum number of open file descriptors.", limit),
    ):
        is_counter = name == "cpu_seconds"
        family = MetricFamily(
            f"process_{name}",
            about,
            "counter" if is_counter else "gauge",
            "_total" if is_counter else "",
            has_created_series=False,
        )
        family.set((), value)
        yield family


def _process_stat() -> list[int]:
    """Read the numbers after the command's name; the process state, a letter, becomes 0."""
    _, _, rest = (_PROC / "self" / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")
    _, *numbers = rest.split()
    return [0, *map(int, numbers)]


def _boot_time() -> float:
    lines = (_PROC / "stat").read_text(encoding="ascii").splitlines()
    return float(next(line.removeprefix(_BOOT_TIME) for line in lines if line.startswith(_BOOT_TIME)))


def _open_files_limit() -> float:
    lines = (_PROC / "self" / "limits").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[3] for line in lines if line.startswith("Max open files")))
