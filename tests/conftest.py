"""Fixtures for tests across the packages: a vLLM-Omni server, and a listener in front of it."""

import email
import importlib.util
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from vllm_omni_client.simulator import SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread

SIMULATED_LORA: Final = "/loras/ink"
KLEIN: Final = "black-forest-labs/FLUX.2-klein-4B"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def simulator_url() -> Iterator[str]:
    """A simulated server on a port, with one LoRA."""
    with serve_in_thread(SimulatorSettings(lora_paths=(SIMULATED_LORA,))) as url:
        yield url


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.real)])
def omni_url(request: pytest.FixtureRequest) -> str:
    """The URL of a server with the contract of vLLM-Omni: a simulated one, and a real one."""
    if request.param == "simulated":
        return request.getfixturevalue("simulator_url")
    return request.getfixturevalue("real_url")


@pytest.fixture(scope="session")
def real_url() -> Iterator[str]:
    """The vLLM-Omni server that OMNI_URL names, or one that is started from the folder in REAL_SERVER."""
    if url := os.environ.get("OMNI_URL"):
        yield url
        return
    folder = real_server_folder()
    with recipe().serving(folder, "klein", ("--served-model-name", KLEIN)) as server:
        yield server.url


@pytest.fixture
def two_real_servers() -> Iterator[list[Any]]:
    """Two vLLM-Omni servers of one model, each on a port of its own; they can be killed and started again."""
    with ExitStack() as stack:
        folder, module = real_server_folder(), recipe()
        both = [module.Server(folder, "klein", ()) for _ in range(2)]
        for server in both:
            server.start()
            stack.callback(server.stop)
        for server in both:
            server.until_healthy()
        yield both


def real_server_folder() -> Path:
    folder = os.environ.get("REAL_SERVER")
    if not folder:
        pytest.skip("neither OMNI_URL nor REAL_SERVER names a vLLM-Omni server")
    return Path(folder)


def recipe() -> ModuleType:
    path = Path(__file__).parent / "real_server" / "run.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Listener(ThreadingHTTPServer):
    """Hands everything on to a server, and keeps the generations that it was sent.

    Attributes:
        url: Where it listens.
        requests: The bodies of the generations and the forms of the edits, as the server received them.
    """

    def __init__(self, server_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handing)
        self.server_url = server_url.rstrip("/")
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[dict[str, Any]] = []


class _Handing(BaseHTTPRequestHandler):
    @property
    def _listener(self) -> Listener:
        assert isinstance(self.server, Listener)
        return self.server

    def do_GET(self) -> None:
        self._hand_on(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        kind = self.headers["content-type"]
        self._listener.requests.append(json.loads(body) if "json" in kind else _form(kind, body))
        self._hand_on(body, kind)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Write nothing."""

    def _hand_on(self, body: bytes | None, kind: str = "") -> None:
        headers = {"content-type": kind} if body else {}
        request = urllib.request.Request(self._listener.server_url + self.path, data=body, headers=headers)  # noqa: S310 - loopback, or what OMNI_URL says
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - likewise
            content = reply.read()
            self.send_response(reply.status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _form(kind: str, body: bytes) -> dict[str, Any]:
    """The fields of a form that are no files."""
    parts = email.message_from_bytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body).walk()
    texts = [part for part in parts if not part.is_multipart() and part.get_filename() is None]
    contents = [(part, part.get_payload(decode=True)) for part in texts]
    return {
        str(part.get_param("name", header="content-disposition")): content.decode()
        for part, content in contents
        if isinstance(content, bytes)
    }


@pytest.fixture
def listener(omni_url: str) -> Iterator[Listener]:
    """A listener before the server."""
    with Listener(omni_url) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join(20)
