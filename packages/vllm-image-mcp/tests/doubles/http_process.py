"""Servers over HTTP in processes of their own, and clients of them with a bearer token."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import httpx2
from canary import CANARY, check_output
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

DEADLINE_SECONDS = 60.0
START_SECONDS = 240.0
"""How long a server may take to start on a machine that does much else."""
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
USUAL_HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class HttpServer:
    """A server over HTTP in a process of its own, in demo mode unless it is given servers."""

    def __init__(
        self,
        *options: str,
        folder: Path,
        env: Mapping[str, str] | None = None,
        demo: bool = True,
        port: int = 0,
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_IMAGE_")}
        command = [sys.executable, "-m", "vllm_image_mcp", "serve", "--transport", "http"]
        self.process = subprocess.Popen(
            [
                *command,
                *("--port", str(port)),
                *(["--demo"] if demo else []),
                *("--output-dir", str(folder)),
                *options,
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**clean, "VLLM_IMAGE_API_KEY": CANARY, **(env or {})},
        )
        assert self.process.stderr
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        self.first_line = self.process.stderr.readline()
        timer.cancel()
        assert "Serving MCP at http://" in self.first_line, self.first_line + self.process.stderr.read()
        self.url = self.first_line.split()[3].rstrip(".")
        self.port = int(self.url.rpartition(":")[2].partition("/")[0])

    def ask(
        self, method: str = "POST", path: str = "/mcp", body: object = PING, **headers: str
    ) -> tuple[int, bytes]:
        """Send a request, and return the status and the body of the answer."""
        answer, content = self.exchange(method, path, body, **headers)
        return answer.status, content

    def exchange(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        """Send a request with a JSON body, or with bytes, and return the answer with its body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) or body is None else json.dumps(body)
        connection.request(method, path, content, {**USUAL_HEADERS, **given})
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        check_output(read, f"the answer to {method} {path}")
        return answer, read

    def stop(self) -> int:
        """Ask it to stop, and return its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)

    def close(self) -> str:
        """Kill it, and return what it has written to stderr."""
        self.process.kill()
        errors = self.process.communicate()[1]
        check_output(errors, "what the server wrote to stderr")
        return errors


@asynccontextmanager
async def connected(url: str, token: str | None = None, *, era: str = "2026-07-28") -> AsyncGenerator[Client]:
    """Connect an MCP client that sends a bearer token."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=DEADLINE_SECONDS) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(
            transport,
            mode="legacy" if era == "2025-11-25" else "auto",
            read_timeout_seconds=DEADLINE_SECONDS,
        ) as client:
            yield client


def content_of(result: CallToolResult) -> dict[str, Any]:
    """Return the structured content of a result that is no error."""
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def text_of(result: CallToolResult) -> str:
    """Return the text of an error."""
    assert result.is_error
    return " ".join(block.text for block in result.content if block.type == "text")


def write_users(file: Path, users: Mapping[str, str], *more: str, settings: Sequence[str] = ()) -> Path:
    """Write the file of some users, given by their names and tokens; settings are for each of them."""
    tables = [
        "\n".join(["[[user]]", f'name = "{name}"', f'token = "{token}"', *settings])
        for name, token in users.items()
    ]
    file.write_text("\n\n".join([*tables, *more]), "utf-8")
    return file
