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
SMALL = {"width": 96, "height": 96}


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
        """Disconnect as hosts do: by closing the server's stdin."""
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


def test_the_messages_of_every_tool_fit(
    host: Host, server: "Recorded", calls: Sequence[Mapping[str, Any]]
) -> None:
    host.begin()

    names = {tool["name"] for tool in host.ask("tools/list")["result"]["tools"]}
    outcomes = called(host, calls)

    assert names == {call["tool"] for call in calls}
    assert outcomes == [(call["tool"], call.get("fails", False)) for call in calls]
    assert server.versions() == {host.version}
    assert server.faults() == []
    assert any(message.body.get("method") == "notifications/progress" for message in server.messages())


FOX = {"prompt": "a red fox in the snow", "width": 128, "height": 96}
WORDS = {"idea": "a fox", "prompt": "a fox"}


def test_the_messages_of_every_resource_fit(host: Host, server: "Recorded") -> None:
    host.begin()
    host.ask("tools/call", name="generate_image", arguments=FOX)
    batch = host.ask("tools/call", name="batch_generate", arguments={"prompts": ["a hill"], **SMALL})

    listed = host.ask("resources/list")["result"]["resources"]
    templates = host.ask("resources/templates/list")["result"]["resourceTemplates"]
    picture = next(each["uri"] for each in listed if each["uri"].startswith("image://"))
    styles = host.ask("resources/read", uri="styles://all")["result"]["contents"][0]["text"]
    uris = [
        f"style://{json.loads(styles)[0]['name']}",
        *(each["uri"] for each in listed),
        f"{picture}?width=64&format=webp",
        f"batch://{batch['result']['structuredContent']['batch_id']}",
        "profile://Qwen/Qwen-Image",
    ]
    answers = {uri: host.ask("resources/read", uri=uri) for uri in uris}

    schemes = {each["uriTemplate"].partition(":")[0] for each in templates}
    assert schemes <= {uri.partition(":")[0] for uri in uris}, "a kind of resource is not read here"
    assert [uri for uri, answer in answers.items() if "result" not in answer] == []
    assert server.faults() == []


def test_the_messages_of_every_prompt_fit(host: Host, server: "Recorded") -> None:
    host.begin()

    prompts = host.ask("prompts/list")["result"]["prompts"]
    answers = [
        host.ask("prompts/get", name=prompt["name"], arguments=needed(prompt, WORDS)) for prompt in prompts
    ]

    assert len(prompts) >= 3
    assert all("result" in answer for answer in answers)
    assert server.faults() == []


def needed(prompt: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, str]:
    """A value for each argument without which the prompt is none."""
    return {each["name"]: values[each["name"]] for each in prompt["arguments"] if each["required"]}


COMPLETED = [
    ({"type": "ref/prompt", "name": "write_image_prompt"}, "aspect_ratio"),
    ({"type": "ref/resource", "uri": "image://{id}{?width,format}"}, "id"),
    ({"type": "ref/resource", "uri": "batch://{id}"}, "id"),
    ({"type": "ref/resource", "uri": "profile://{+model}"}, "model"),
]


def test_the_messages_of_every_completion_fit(host: Host, server: "Recorded") -> None:
    host.begin()
    host.ask("tools/call", name="batch_generate", arguments={"prompts": ["a hill"], **SMALL})

    answers = [
        host.ask("completion/complete", ref=ref, argument={"name": name, "value": ""})
        for ref, name in COMPLETED
    ]

    assert all(answer["result"]["completion"]["values"] for answer in answers)
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


def test_a_mismatched_message_is_detected(host: Host, server: "Recorded") -> None:
    host.begin()
    host.ask("tools/list")
    listed = server.messages()[-1]
    tools = [{**tool, "name": 7} for tool in listed.body["result"]["tools"]]
    spoilt = {**listed.body, "result": {**listed.body["result"], "tools": tools}}

    faults = server.wire.faults(
        type(listed)(sender="server", body=spoilt, version=host.version, method=listed.method)
    )

    assert faults[0].startswith("ListToolsResult.tools[")
