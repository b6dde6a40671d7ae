"""Loading ahead: in a thread, in order, and without an end if the process stops."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from vllm_image_mcp.preloading import Preloader, modules_needed


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Two modules that have not been imported yet."""
    names = ("loaded_ahead_first", "loaded_ahead_second")
    for name in names:
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield names
    for name in names:
        sys.modules.pop(name, None)


async def test_what_is_needed_is_imported_and_then_read(modules: tuple[str, str]) -> None:
    imported: list[bool] = []
    loading = Preloader(modules, lambda: imported.extend(name in sys.modules for name in modules))
    await loading.wait()
    await loading.wait()
    assert imported == [True, True]


async def test_a_module_that_is_missing_keeps_no_call_waiting(modules: tuple[str, str]) -> None:
    await Preloader(("no_such_module_anywhere", *modules)).wait()
    assert modules[1] in sys.modules


async def test_after_a_stop_nothing_more_is_imported_or_read(modules: tuple[str, str]) -> None:
    read = threading.Event()
    loading = Preloader(modules, read.set)
    loading.stop()
    await loading.wait()
    assert modules[0] not in sys.modules
    assert not read.is_set()


@pytest.mark.parametrize("demo", [False, True])
async def test_all_that_is_listed_exists(*, demo: bool) -> None:
    needed = modules_needed(demo=demo)
    await Preloader(needed).wait()
    assert [name for name in needed if name not in sys.modules] == []
