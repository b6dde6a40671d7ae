"""Fixtures that the tests of the client share; the server that plays a script is in the root's conftest."""

import contextlib
import importlib.util
import socket
from collections.abc import Iterator
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


@pytest.fixture
def blackhole() -> Iterator[str]:
    """A port whose queue of connections is full, so that nothing answers there."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
