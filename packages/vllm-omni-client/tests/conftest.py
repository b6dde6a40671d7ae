"""Fixtures that the tests of the client share; the server that plays a script is in the root's conftest."""

import importlib.util
from pathlib import Path

import pytest
from vllm_omni_client._imaging import base64_text

# Pillow comes with the extra: without it, what draws its samples with it is not collected.
collect_ignore = (
    []
    if importlib.util.find_spec("PIL")
    else [
        path.name for path in Path(__file__).parent.glob("test_*.py") if "from PIL" in path.read_text("utf-8")
    ]
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["pybase64", "standard library"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Decode base64 by pybase64, which comes with the extra `fast`, and once more as without it."""
    if request.param == "standard library":
        monkeypatch.setattr(base64_text, "_fast", None)
    else:
        pytest.importorskip("pybase64", reason="it comes with the extra `fast`")
    return request.param
