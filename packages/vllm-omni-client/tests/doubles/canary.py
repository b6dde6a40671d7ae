"""A canary: the key that clients send in tests, and that no output may contain.

A pytest plugin for the tests of all packages. Whatever connects without a key of its own sends the canary.
What tests print and log (from DEBUG on), what they write into their temporary folders, and what processes
write to stdout and stderr is searched for it. Tests marked with `own_key` say themselves which key is sent.
"""

import logging
import subprocess
from collections.abc import Callable, Generator, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr
from vllm_omni_client._protocol.connection_settings import ConnectionSettings

CANARY: Final = "canary-b7f0c3d95e1a4862"
LOGGERS: Final = ("vllm_omni_client", "vllm_image_core", "vllm_image_mcp")
_MOST_BYTES: Final = 32 * 2**20
"""Larger files are padding that tests write."""


class Leak(AssertionError):
    """An output contains the canary."""


def check_output(output: str | bytes | None, where: str) -> None:
    """Raise Leak if an output contains the canary."""
    found = CANARY.encode() in output if isinstance(output, bytes) else CANARY in (output or "")
    if found:
        raise Leak(f"The key is in {where}")


def find_leaks(folder: Path) -> Iterator[Path]:
    """Find the files below a folder that contain the canary."""
    for path in folder.rglob("*"):
        try:
            is_searched = path.is_file() and not path.is_symlink() and path.stat().st_size <= _MOST_BYTES
            if is_searched and CANARY.encode() in path.read_bytes():
                yield path
        except OSError:  # made unreadable by a test
            continue


@pytest.fixture(autouse=True)
def canary_key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the canary to each client that has no key of its own, and search what processes print."""
    if request.node.get_closest_marker("own_key"):
        return
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    original = ConnectionSettings.from_arguments.__func__

    def with_canary(cls: type[ConnectionSettings], base_url: str, **given: Any) -> ConnectionSettings:  # noqa: ANN401 - as they are
        names = {name.lower() for name in given["headers"] or ()}
        if given["api_key"] is None and "authorization" not in names:
            given["api_key"] = SecretStr(CANARY)
        return original(cls, base_url, **given)

    monkeypatch.setattr(ConnectionSettings, "from_arguments", classmethod(with_canary))
    communicate: Callable[..., Any] = vars(subprocess.Popen)["communicate"]
    monkeypatch.setattr(subprocess.Popen, "communicate", _searched(communicate))


def _searched(communicate: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(communicate)
    def search(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of Popen
        output, errors = communicate(*args, **kwargs)
        check_output(output, "what a process wrote to stdout")
        check_output(errors, "what a process wrote to stderr")
        return output, errors

    return search


@pytest.fixture(scope="session", autouse=True)
def canary_in_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Search all files that the tests have written, once at the end."""
    yield
    leaks = [str(path) for path in find_leaks(tmp_path_factory.getbasetemp())]
    if leaks:
        raise Leak(f"The key is in files that tests wrote: {', '.join(leaks)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that has printed or logged the canary."""
    report = yield
    found = [name for name, text in report.sections if CANARY in text]
    if found and report.outcome == "passed":
        report.outcome = "failed"
        report.longrepr = f"The key is in the output of {item.nodeid}: {', '.join(found)}"
    return report
