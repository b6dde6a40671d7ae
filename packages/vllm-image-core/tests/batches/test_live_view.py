"""A batch is shown while it runs: a bar everywhere, and a table in notebooks."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from recorded_batches import requests
from vllm_image_core.batches import live_view
from vllm_image_core.errors import MissingPackage
from vllm_omni_client.errors import BadReply

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


async def test_without_tqdm_the_error_says_what_to_install(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    async with batch_server.studio(tmp_path) as studio:
        with pytest.raises(MissingPackage, match="tqdm is not installed") as caught:
            await studio.batch(requests(1)).show()
    assert caught.value.next_step == 'Install it: pip install "vllm-image-core[notebook]".'
    assert batch_server.sent == []


async def test_a_terminal_shows_a_bar_up_to_the_end(
    batch_server: "BatchServer", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    batch_server.fails = lambda prompt, _times: BadReply("junk") if prompt == "fox 1" else None
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        await studio.batch(requests(3)).show()
    shown = capsys.readouterr()
    assert "100%" in shown.err
    assert "3/3" in shown.err
    assert "failed=1" in shown.err
    assert shown.out == ""


async def test_a_notebook_shows_the_latest_images_with_seed_time_and_error(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm")
    pages: list[str] = []
    monkeypatch.setattr(live_view, "_html_output", lambda: pages.append)
    batch_server.fails = lambda prompt, _times: BadReply("junk") if prompt == "fox 11" else None
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(requests(12), max_concurrent=1)
        await batch.show()
        again = studio.resume(batch.id)
        await again.show()
    last = pages[-2]
    assert "11 of 12 done, 1 failed" in last
    assert "The latest 8 of 12." in last
    assert last.count("<img ") == 7
    assert "BadReply: junk" in last
    assert str(batch.images[10].seed) in last
    assert "fox 11" in pages[-1]  # a resumed batch shows what it had before


def test_only_a_kernel_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shells: list[Any] = [None, SimpleNamespace()]
    for shell in shells:
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert live_view._html_output() is None
