"""Fixtures that the tests of the client share; the server that plays a script is in the root's conftest."""

import importlib.util
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Pillow and the simulator come with extras: without them, what needs them on import is not collected.
EXTRAS = {"PIL": "\nfrom PIL ", "starlette": "\nfrom vllm_omni_client.simulator"}
collect_ignore = [
    str(path.relative_to(TESTS))
    for package, needed in EXTRAS.items()
    if importlib.util.find_spec(package) is None
    for path in TESTS.rglob("test_*.py")
    if needed in path.read_text("utf-8")
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
