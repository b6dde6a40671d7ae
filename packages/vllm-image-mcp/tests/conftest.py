"""Fixtures that the tests of the server share: vLLM-Omni servers on loopback, MCP clients, MCP servers."""

import asyncio
import contextlib
import email
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from canary import CANARY, check_output
from click.testing import CliRunner, Result
from mcp import Client
from mcp.shared.exceptions import MCPError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_omni_client.simulator import SimulatorSettings, create_app
from vllm_omni_client.simulator.http.serving import base_url, open_listener

DEADLINE_SECONDS = 60.0
KLEIN = "black-forest-labs/FLUX.2-klein-4B"

Answer = tuple[int, bytes] | None
"""A status and a body; None reads the request and closes the connection."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def bare_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No option comes from the developer's own environment or settings file; the key is the canary."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no configuration"))
    for name in list(os.environ):
        if name.startswith("VLLM_IMAGE_"):
            monkeypatch.delenv(name)
    if not request.node.get_closest_marker("own_key"):
        monkeypatch.setenv("VLLM_IMAGE_API_KEY", CANARY)


@pytest.fixture(autouse=True)
def canary_in_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search what commands print, and what MCP clients are sent, for the canary."""
    invoke = CliRunner.invoke

    def invoke_searched(self: CliRunner, *args: Any, **kwargs: Any) -> Result:  # noqa: ANN401 - as they are
        result = invoke(self, *args, **kwargs)
        check_output(result.output, "the output of a command")
        return result

    monkeypatch.setattr(CliRunner, "invoke", invoke_searched)
    for method in ("call_tool", "read_resource", "get_prompt", "list_tools", "list_resources"):
        monkeypatch.setattr(Client, method, _searched(vars(Client)[method]))


def _searched(ask: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(ask)
    async def search(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as they are
        try:
            result = await ask(*args, **kwargs)
        except MCPError as error:
            check_output(error.error.model_dump_json(), "an error that a client was sent")
            raise
        check_output(result.model_dump_json(), "a result that a client was sent")
        return result

    return search


@pytest.fixture(params=[pytest.param("2025-11-25", marks=pytest.mark.legacy_era), "2026-07-28"])
def era(request: pytest.FixtureRequest) -> str:
    """A protocol version: the one with the initialize handshake, and the one without."""
    return request.param


@pytest.fixture
def connect(era: str, omni: "OmniServer", tmp_path: Path) -> Callable[..., Client]:
    """Make MCP clients of servers in this process; options are those of ``Settings``."""

    def client(**options: object) -> Client:
        settings = Settings.from_arguments(**{"vllm_url": omni.url, "output_dir": tmp_path, **options})
        mode = "legacy" if era == "2025-11-25" else "auto"
        return Client(build_server(settings), mode=mode, read_timeout_seconds=DEADLINE_SECONDS)

    return client


class OmniServer:
    """The simulator on a port. It records what it receives, and can be made to fail or wait.

    Attributes:
        url: Its base URL.
        requests: The bodies of all generations and edits since the test began, as they came; of an edit the
            fields of its form, with the images as bytes under "image" and their further roles.
        most_at_once: How many of them were under way at the same time.
        failures: Prompts that are answered with a status and an error message.
    """

    def __init__(self) -> None:
        self._socket = open_listener("127.0.0.1", 0)
        self.url = base_url(self._socket)
        self._released = threading.Event()
        self._arrival = threading.Condition()
        self.reset()
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            log_config=None,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def reset(self) -> None:
        """Forget the last test."""
        self._released.set()
        self.requests: list[dict[str, Any]] = []
        self.failures: dict[str, tuple[int, str]] = {}
        self.most_at_once = self._at_once = 0
        self._let_through = sys.maxsize
        self._holds_questions = False
        self.runs(KLEIN)

    def runs(self, model: str, **options: object) -> None:
        """Load a model; options are those of ``SimulatorSettings``."""
        settings = SimulatorSettings.model_validate({"model": model, **options})
        self._app: ASGIApp = create_app(settings)

    def hold_after(self, count: int) -> None:
        """Let some generations and edits through, and keep all later ones waiting until the test ends."""
        self._let_through = count
        self._released.clear()

    def hold_questions(self) -> None:
        """Keep whoever asks for the model waiting, until `release`."""
        self._holds_questions = True
        self._released.clear()

    def wait_for(self, count: int) -> None:
        """Wait until that many generations have arrived."""
        with self._arrival:
            assert self._arrival.wait_for(lambda: len(self.requests) >= count, DEADLINE_SECONDS)

    def release(self) -> None:
        """Release the waiting requests, and hold no more."""
        self._let_through = sys.maxsize
        self._released.set()

    def stop(self) -> None:
        """End the thread, and what it still holds."""
        self._released.set()
        self._server.should_exit = True
        self._thread.join(DEADLINE_SECONDS)
        self._socket.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in {"/v1/images/generations", "/v1/images/edits"}:
            if self._holds_questions:
                await asyncio.to_thread(self._released.wait, DEADLINE_SECONDS)
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        request = json.loads(body) if scope["path"].endswith("generations") else _form(scope, body)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        with self._arrival:
            self.requests.append(request)
            self._arrival.notify_all()
        try:
            if len(self.requests) > self._let_through:
                await asyncio.to_thread(self._released.wait, DEADLINE_SECONDS)
            status, message = self.failures.get(request["prompt"], (200, ""))
            app = self._app if status == 200 else _error(status, message)
            await app(scope, _again(body, receive), send)
        finally:
            self._at_once -= 1


async def _whole(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _form(scope: Scope, body: bytes) -> dict[str, Any]:
    """The fields of a form with files; of a field that has files, their contents."""
    [kind] = [value for name, value in scope["headers"] if name == b"content-type"]
    fields: dict[str, Any] = {}
    for part in email.message_from_bytes(b"content-type: " + kind + b"\r\n\r\n" + body).walk():
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue
        name = str(part.get_param("name", header="content-disposition"))
        if part.get_filename() is None:
            fields[name] = content.decode()
        else:
            fields.setdefault(name.removesuffix("[]"), []).append(content)
    return fields


def _again(body: bytes, receive: Receive) -> Receive:
    """What receives a body that was read already, and then whatever comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed


def _error(status: int, message: str) -> ASGIApp:
    """An error in the shape that vLLM-Omni gives its own."""
    kind = "BadRequestError" if status < 500 else "InternalServerError"
    return JSONResponse(
        {"error": {"message": message, "type": kind, "param": None, "code": status}}, status_code=status
    )


@pytest.fixture(scope="session")
def simulator() -> Iterator[OmniServer]:
    """The one simulated server of the whole run."""
    server = OmniServer()
    yield server
    server.stop()


@pytest.fixture
def omni(simulator: OmniServer) -> Iterator[OmniServer]:
    """A simulated FLUX.2-klein-4B without any state from the last test."""
    simulator.reset()
    yield simulator
    simulator.reset()


@pytest.fixture
def nobody() -> str:
    """The URL of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def scripted() -> Iterator[Callable[[Mapping[str, Answer]], str]]:
    """Start servers that answer from a table by path, and otherwise like a healthy klein."""
    listeners: list[socket.socket] = []

    def start(answers: Mapping[str, Answer]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        models = json.dumps({"data": [{"id": KLEIN, "root": KLEIN}]}).encode()
        table = {"/v1/models": (200, models), "/health": (200, b"{}"), **answers}
        threading.Thread(target=_listen, args=(listener, table), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        with contextlib.suppress(OSError):  # macOS: not connected
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _listen(listener: socket.socket, table: Mapping[str, Answer]) -> None:
    with contextlib.suppress(OSError):  # the listener is closed when the test ends
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_talk, args=(connection, table), daemon=True).start()


def _talk(connection: socket.socket, table: Mapping[str, Answer]) -> None:
    """Read one whole request, and answer it or not; a connection is for one request."""
    with connection, contextlib.suppress(OSError, ValueError):  # the client may go away in mid-request
        connection.settimeout(DEADLINE_SECONDS)
        head, _, body = _received(connection, b"").partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().splitlines() if line.startswith(b"content-length")]
        sizes = [int(line.split(b":")[1]) for line in lengths]
        while sizes and len(body) < sizes[0]:
            body += connection.recv(65536)
        answer = table.get(head.split()[1].decode(), (404, b'{"detail":"Not Found"}'))
        if answer is not None:
            status, content = answer
            connection.sendall(
                b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(content))
                + content
            )


def _received(connection: socket.socket, received: bytes) -> bytes:
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            raise ValueError("the client went away")
        received += chunk
    return received


class StdioServer:
    """An MCP server in a process of its own, driven line by line in the era of 2025-11-25.

    Attributes:
        lines: Everything that it wrote to stdout, line by line.
    """

    def __init__(
        self, command: list[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self._log = log
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("VLLM_IMAGE_")
        }
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**environment, "VLLM_IMAGE_API_KEY": CANARY, **(env or {})},
                cwd=cwd,
            )
        self.lines: list[bytes] = []
        self._arrived: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._last_id = 0

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            self._arrived.put(line)

    def send(self, line: str) -> None:
        """Write one line as it is."""
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Send a request, and return the answer to it."""
        self._last_id += 1
        self.send(json.dumps({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}))
        return self.answer(self._last_id)

    def answer(self, to: int) -> dict[str, Any]:
        """Wait for the answer to a request, skipping other messages."""
        while True:
            message = json.loads(self._arrived.get(timeout=DEADLINE_SECONDS))
            if message.get("id") == to:
                return message

    def notified(self, method: str) -> list[dict[str, Any]]:
        """Its notifications of one kind so far."""
        messages = [json.loads(line) for line in self.lines]
        return [message for message in messages if message.get("method") == method]

    def wait_for_log(self, text: str) -> None:
        """Wait until the log has some text."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while text not in self.errors:
            assert time.monotonic() < deadline, f"never logged: {text}"
            assert self.process.poll() is None, self.errors
            time.sleep(0.01)

    def initialize(self) -> dict[str, Any]:
        """Do the handshake."""
        client = {"name": "test", "version": "1"}
        answer = self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client)
        self.send('{"jsonrpc": "2.0", "method": "notifications/initialized"}')
        return answer

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool, and return its result."""
        return self.ask("tools/call", name=tool, arguments=arguments)["result"]

    def end(self) -> int:
        """Close its stdin, and wait for its exit status."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended, and for all that it wrote."""
        status = self.process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        return status

    @property
    def errors(self) -> str:
        """What it has written to stderr so far."""
        return self._log.read_text("utf-8")

    def close(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        check_output(b"".join(self.lines), "what the server wrote to stdout")
        for file in (self.process.stdin, self.process.stdout):
            if file:
                with contextlib.suppress(OSError):  # a pipe whose other end is gone
                    file.close()


@pytest.fixture(scope="module")
def spawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., StdioServer]]:
    """Start servers over stdio; arguments are those of the command line."""
    started: list[StdioServer] = []

    def start(
        *arguments: str,
        command: tuple[str, ...] = (sys.executable, "-m", "vllm_image_mcp.server"),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> StdioServer:
        log = tmp_path_factory.mktemp("stderr") / "log"
        started.append(StdioServer([*command, *arguments], log=log, env=env, cwd=cwd))
        return started[-1]

    yield start
    for server in started:
        server.close()
