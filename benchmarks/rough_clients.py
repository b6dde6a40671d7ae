"""Disconnect 10,000 times and send 20,000 malformed frames over HTTP; memory and files have to stay flat.

Run it with `uvx nox -s bench -- rough_clients`, on Linux. Clients of one server break off while they send a
request, before they read its answer and in the middle of a tool call; others send what is no message of the
protocol. Exits with 1 if the server ends, answers a good request badly, answers a bad one with a fault of its
own, or grows.
"""

import argparse
import json
import random
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from _http_server import http_server

MOST_GROWTH = 1.10
"""Memory at the end relative to that after the first tenth."""
MOST_FILES = 20
"""Open files at the end in addition to those after the first tenth."""

SECONDS = 60.0
THREADS = 4
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
METHODS = ("ping", "initialize", "tools/list", "tools/call", "resources/read", "prompts/get", "nothing")


def main() -> int:
    """Run the benchmark."""
    options = _options()
    failures: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        http_server("--demo", "--output-dir", folder) as (process, url),
    ):
        port = urlsplit(url).port or 0
        work = [
            *(("disconnect", number) for number in range(options.disconnects)),
            *(("frame", number) for number in range(options.frames)),
        ]
        random.Random(1).shuffle(work)
        tenth = len(work) // 10
        with ThreadPoolExecutor(THREADS) as threads:

            def do(item: tuple[str, int]) -> str | None:
                kind, number = item
                return _disconnect(port, number) if kind == "disconnect" else _send_frame(port, number)

            failures += filter(None, threads.map(do, work[:tenth]))
            _check_alive(port)
            memory, files = process.memory_info().rss, process.num_fds()
            failures += filter(None, threads.map(do, work[tenth:]))
        _check_alive(port)
        ending = process.memory_info().rss, process.num_fds()
    print(f"{options.disconnects} disconnects, {options.frames} malformed frames, {len(failures)} failures")
    print(f"memory: {memory / 1e6:.0f} MB, then {ending[0] / 1e6:.0f} MB")
    print(f"open files: {files}, then {ending[1]}")
    for failure in failures[:5]:
        print(failure)
    return int(bool(failures) or ending[0] > memory * MOST_GROWTH or ending[1] > files + MOST_FILES)


def _disconnect(port: int, number: int) -> None:
    """Break off at one of several points of a request."""
    tool = {"name": "generate_image", "arguments": {"prompt": f"{number}", "width": 64, "height": 64}}
    call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": tool}
    body = json.dumps(call if number % 100 == 0 else {**PING, "method": "tools/list"}).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in {"host": "127.0.0.1", **HEADERS}.items())
    request = f"POST /mcp HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body
    cut = (10, len(request) - len(body), len(request) - 5, len(request))[number % 4]
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(request[:cut])
        if number % 8 == 3:  # noqa: PLR2004 - some read the first byte of the answer
            connection.recv(1)


def _send_frame(port: int, number: int) -> str | None:
    """Send an invalid frame, and return what was wrong with the answer."""
    frame = _frame(random.Random(number))
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("POST", "/mcp", frame, HEADERS)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"{error!r} after {frame[:80]!r}"
    finally:
        connection.close()
    return f"{status} for {frame[:80]!r}" if status >= 500 else None  # noqa: PLR2004 - a fault of the server


def _frame(draw: random.Random) -> bytes:
    """Return a message with something wrong in it, or no message at all."""
    message: dict[str, object] = {**PING, "method": draw.choice(METHODS)}
    match draw.randrange(6):
        case 0:
            return draw.randbytes(draw.randrange(200))
        case 1:
            text = json.dumps(message).encode()
            return text[: draw.randrange(len(text))]
        case 2:
            return draw.choice((b"[", b'{"a":')) * draw.randrange(1, 3_000)
        case 3:
            message[draw.choice(("jsonrpc", "id", "method"))] = draw.choice(
                ([], {}, 7, None, 1e300, "\ud800")
            )
        case 4:
            message["params"] = draw.choice(
                ([], 7, "x", {"name": []}, {"uri": 7}, {"_meta": 7}, {"": {"": []}})
            )
        case _:
            message = {draw.choice(("jsonrpc", "id", "result", "error")): draw.choice(("2.0", 1, {}, None))}
    return json.dumps(message).encode()


def _check_alive(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.request("POST", "/mcp", json.dumps(PING), HEADERS)
    assert connection.getresponse().status == 200  # noqa: PLR2004 - a good request
    connection.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disconnects", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=20_000)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
