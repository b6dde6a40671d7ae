"""A stand-in for the API of a host's model: it answers with tool calls that were written down beforehand.

`python model_api.py SCRIPT LOG` prints the port that it listens on, on loopback. The script is a JSON list
of steps, {"name": a tool, "input": its arguments}; each answer is the next step, and after the last one the
words "That is all.". An argument "$batch_id" is what stands after "batch_id" in the tool results so far, the
last of them. Requests are written into the log, one in a line.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import JsonValue

END = "That is all."


class Model:
    """The script, and what was asked."""

    def __init__(self, script: Path, log: Path) -> None:
        self._steps: list[dict[str, Any]] = json.loads(script.read_text("utf-8"))
        self._log = log

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The content block that follows a conversation: a tool call, or the last words."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(request) + "\n")
        blocks = list(_blocks(request["messages"]))
        done = sum(block["type"] == "tool_use" for block in blocks)
        if not request.get("tools") or done >= len(self._steps):
            return {"type": "text", "text": END}
        step = self._steps[done]
        said = "\n".join(_texts(blocks))
        arguments = {name: _filled(value, said) for name, value in step["input"].items()}
        return {"type": "tool_use", "id": f"toolu_{done}", "name": step["name"], "input": arguments}


def _blocks(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """All content blocks of a conversation."""
    for message in messages:
        yield from _parts(message["content"])


def _parts(content: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - a host writes either form
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _texts(blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The texts of all tool results."""
    for block in blocks:
        if block["type"] == "tool_result":
            yield from (part["text"] for part in _parts(block["content"]) if part["type"] == "text")


def _filled(value: JsonValue, said: str) -> JsonValue:
    """An argument, taken from earlier results where it names a key of theirs."""
    match value:
        case str() if value.startswith("$"):
            return re.findall(rf'"{value[1:]}":\s*"([^"]+)"', said)[-1]
        case list():
            return [_filled(each, said) for each in value]
        case _:
            return value


def _events(block: Mapping[str, Any], model: str) -> Iterator[Mapping[str, Any]]:
    """A message with one content block, as it is streamed."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "usage": usage}
    yield {"type": "message_start", "message": {**message, "content": list[Any]()}}
    if block["type"] == "text":
        begun: Mapping[str, Any] = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": block["text"]}
    else:
        begun = {**block, "input": dict[str, Any]()}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    yield {"type": "content_block_start", "index": 0, "content_block": begun}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    stop = "end_turn" if block["type"] == "text" else "tool_use"
    yield {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def serve(model: Model) -> None:
    """Listen on a free port of loopback, print it, and answer until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.path.startswith("/v1/messages") or "count_tokens" in self.path:
                self._send(404, "application/json", b"{}")
                return
            events = _events(model.answer(request), request["model"])
            body = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)
            self._send(200, "text/event-stream", body.encode())

        def do_GET(self) -> None:
            self._send(404, "application/json", b"{}")

        def do_HEAD(self) -> None:
            self._send(200, "application/json", b"")

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            """Log nothing: stdout has the port, and the log has the requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)  # noqa: T201 - how the port is told
    server.serve_forever()


if __name__ == "__main__":
    serve(Model(Path(sys.argv[1]), Path(sys.argv[2])))
