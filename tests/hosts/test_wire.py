"""Every raw message of our server against the official schemas, in three versions of the protocol."""

import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import JsonValue

if TYPE_CHECKING:
    from conftest import Recorded

DEADLINE_SECONDS = 120.0
PREFIX = "io.modelcontextprotocol"
INFO = {"name": "test", "version": "1"}


class Host:
    """A host that sends lines as it likes, with or without the handshake."""

    def __init__(self, command: Sequence[str], version: str) -> None:
        self.version = version
        self._process = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._last_id = 0

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)

    @property
    def shakes_hands(self) -> bool:
        return self.version < "2026"

    def begin(self) -> dict[str, Any]:
        """The server's account of itself."""
        if not self.shakes_hands:
            return self.ask("server/discover")["result"]
        answer = self.ask("initialize", protocolVersion=self.version, capabilities={}, clientInfo=INFO)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer["result"]

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """The answer to a request, with a progress token, as the version has it."""
        self._last_id += 1
        meta: dict[str, object] = {"progressToken": self._last_id}
        if not self.shakes_hands:
            meta |= {
                f"{PREFIX}/protocolVersion": self.version,
                f"{PREFIX}/clientInfo": INFO,
                f"{PREFIX}/clientCapabilities": {},
            }
        self.send(
            {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": {**params, "_meta": meta}}
        )
        while True:
            message = json.loads(self._lines.get(timeout=DEADLINE_SECONDS))
            if message.get("id") == self._last_id:
                return message

    def send(self, message: Mapping[str, object]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Go away, as hosts do: by closing what the server reads."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(DEADLINE_SECONDS)
        finally:
            self._process.kill()
            self._reader.join(DEADLINE_SECONDS)
            self._process.stdout.close()


@pytest.fixture(params=["2025-06-18", "2025-11-25", "2026-07-28"])
def host(server: "Recorded", request: pytest.FixtureRequest) -> Iterator[Host]:
    host = Host(server.command, request.param)
    yield host
    host.close()


def called(host: Host, calls: Sequence[Mapping[str, Any]]) -> list[tuple[str, bool]]:
    """Whether each call failed; what a later one needs of an earlier one is filled in."""
    last: dict[str, Any] = {}
    outcomes: list[tuple[str, bool]] = []
    for call in calls:
        arguments = {name: filled(value, last) for name, value in call["arguments"].items()}
        result = host.ask("tools/call", name=call["tool"], arguments=arguments)["result"]
        last[call["tool"]] = result.get("structuredContent") or last.get(call["tool"])
        outcomes.append((call["tool"], bool(result.get("isError"))))
    return outcomes


def filled(value: JsonValue, last: Mapping[str, Any]) -> JsonValue:
    match value:
        case list():
            return [filled(each, last) for each in value]
        case str() if value.startswith("$"):
            tool, *keys = value[1:].split(".")
            found = last[tool]
            for key in keys:
                found = found[int(key) if key.isdigit() else key]
            return found
        case _:
            return value


def test_every_tool_s_messages_fit(
    host: Host, server: "Recorded", calls: Sequence[Mapping[str, Any]]
) -> None:
    host.begin()

    names = {tool["name"] for tool in host.ask("tools/list")["result"]["tools"]}
    outcomes = called(host, calls)

    assert names == {call["tool"] for call in calls}, "calls.json has to have every tool"
    assert outcomes == [(call["tool"], call.get("fails", False)) for call in calls]
    assert server.versions() == {host.version}
    assert server.faults() == []
    assert any(message.body.get("method") == "notifications/progress" for message in server.messages())


LISTS = ("resources/list", "resources/templates/list", "prompts/list")


def test_every_list_fits(host: Host, server: "Recorded") -> None:
    host.begin()

    answers = [host.ask(method) for method in LISTS]

    assert all("result" in answer for answer in answers)
    assert server.faults() == []


WRONG: Mapping[str, tuple[str, dict[str, object]]] = {
    "no such method": ("pictures/list", {}),
    "no such tool": ("tools/call", {"name": "make_coffee", "arguments": {}}),
    "no such resource": ("resources/read", {"uri": "image://nobody.png"}),
    "no such prompt": ("prompts/get", {"name": "nobody"}),
    "no arguments": ("tools/call", {"name": "generate_image"}),
    "no name": ("tools/call", {"arguments": {}}),
}


def test_every_error_fits(host: Host, server: "Recorded") -> None:
    host.begin()

    answers = {what: host.ask(method, **params) for what, (method, params) in WRONG.items()}

    kept = [
        what for what, answer in answers.items() if "error" not in answer and not answer["result"]["isError"]
    ]
    assert kept == []
    assert server.faults() == []


def test_a_message_that_does_not_fit_is_found(host: Host, server: "Recorded") -> None:
    host.begin()
    host.ask("tools/list")
    listed = server.messages()[-1]
    tools = [{**tool, "name": 7} for tool in listed.body["result"]["tools"]]
    spoilt = {**listed.body, "result": {**listed.body["result"], "tools": tools}}

    faults = server.wire.faults(
        type(listed)(sender="server", body=spoilt, version=host.version, method=listed.method)
    )

    assert faults[0].startswith("ListToolsResult.tools[")
