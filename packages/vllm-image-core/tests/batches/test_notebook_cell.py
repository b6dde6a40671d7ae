"""Cells of a notebook that are interrupted, or run again while their batch is running."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from recorded_batches import requests
from vllm_image_core.batches.notebook_cell import CellRun

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


class Shell:
    """IPython's shell in a kernel."""

    def __init__(self) -> None:
        self.parent: dict[str, dict[str, str]] = {}

    def get_parent(self) -> dict[str, dict[str, str]]:
        return self.parent


@pytest.fixture
def run_cell(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Begin a run of a cell."""
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))

    def run(cell: str, number: str) -> None:
        shell.parent = {"header": {"msg_id": number}, "metadata": {"cellId": cell} if cell else {}}

    return run


async def test_running_a_cell_again_stops_its_earlier_batch_and_says_how_to_resume_it(
    batch_server: "BatchServer",
    tmp_path: Path,
    run_cell: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        run_cell("a", "1")
        first, second = await studio.batch(requests(3)), await studio.batch(requests(3))
        run_cell("b", "2")
        other = await studio.batch(requests(3))
        assert not any(batch.over for batch in (first, second, other))
        run_cell("a", "3")
        again = await studio.batch(requests(3))
        assert (first.over, second.over, other.over, again.over) == (True, True, False, False)
        batch_server.gate.set()
        assert await studio.resume(first.id).wait()
    shown = capsys.readouterr().out
    assert shown.count("Stopped ") == 2
    assert f'0 of 3 images are done. studio.resume("{first.id}") continues it.' in shown


def test_a_notebook_that_does_not_name_its_cells_has_no_cell_runs(
    run_cell: Callable[[str, str], None],
) -> None:
    run_cell("", "1")
    assert CellRun.current() is None


async def test_an_interrupted_wait_says_what_continues_and_a_timeout_stays_a_timeout(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3))
        waiting = asyncio.create_task(batch.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        lines = caught.value.__dict__["_render_traceback_"]()
        assert f"you no longer wait for {batch.id}." in lines[0]
        assert "It continues in the background: 0 of 3 images are done" in lines[1]
        assert "await batch.cancel()" in lines[2]
        assert max(map(len, lines)) < 100, "a notebook breaks longer lines within words"
        assert not batch.over
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await batch.wait()


async def test_an_interrupted_block_says_that_its_batch_is_cancelled(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()

    async def read() -> None:
        async with studio.batch(requests(3)) as batch:
            async for _ in batch:
                pass

    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        reading = asyncio.create_task(read())
        await batch_server.came(1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await reading
        assert "cancels batch_" in caught.value.__dict__["_render_traceback_"]()[1]
