"""A pytest plugin that runs tests with as much of Windows as `windows_like` emulates."""

import importlib
import inspect
import re
import sys
from collections.abc import Generator

import pytest
import windows_like

# Test modules are imported as on Windows, so that they skip what they skip there. The libraries that they use
# are imported before, since those really run on Linux.
LIBRARIES = (
    *("PIL.Image", "anyio", "click.testing", "ctypes", "httptools", "httpx", "hypothesis", "mcp.server"),
    *("multiprocessing", "platformdirs", "prometheus_client", "psutil", "pydantic", "respx", "starlette"),
    *("sqlite3", "subprocess", "tenacity", "uuid", "uvicorn"),
)
EMULATES = re.compile(r'\bsys(?:, "|\.)platform",')
"""What a test says that sets the system itself."""


windows_like.emulate()  # before pytest's own importer, which compiles the packages of plugins


def pytest_configure() -> None:
    for name in LIBRARIES:
        importlib.import_module(name)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    if not isinstance(collector, pytest.Module):
        return (yield)
    system = sys.platform
    sys.platform = "win32"
    try:
        return (yield)
    finally:
        sys.platform = system


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    twice = pytest.mark.skip(reason="it emulates a system itself")
    for item in items:
        test: object = getattr(item, "obj", None)
        if inspect.isfunction(test) and EMULATES.search(inspect.getsource(test)):
            item.add_marker(twice)
