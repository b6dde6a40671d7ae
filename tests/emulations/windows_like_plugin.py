"""A pytest plugin that runs tests with as much of Windows as `windows_like` emulates."""

import importlib
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
NOT_EMULATED = {
    "test_a_system_without_such_a_call_is_not_asked": "no other system is emulated at the same time",
}


def pytest_configure() -> None:
    windows_like.emulate()
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
    for item in items:
        if reason := NOT_EMULATED.get(item.name.partition("[")[0]):
            item.add_marker(pytest.mark.skip(reason=reason))
