"""The server's event loop."""

import sys

import pytest
from vllm_image_mcp.event_loop import loop_factory


def test_it_is_uvloops_where_that_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop")
    factory = loop_factory()
    assert factory
    loop = factory()
    loop.close()
    assert isinstance(loop, uvloop.Loop)


def test_it_is_asyncios_own_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None
