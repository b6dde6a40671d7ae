"""A server that breaks connections on demand, and both clients for it."""

import asyncio
import base64
import json
import socket
import struct
import sys
from collections.abc import Callable
from itertools import chain, repeat

import pytest
from vllm_omni_client import (
    AsyncOmniClient,
    Capabilities,
    ImageGenerationReply,
    ImageGenerationRequest,
    OmniClient,
    OmniError,
    ReplyImage,
)

Script = Callable[[socket.socket, bytes], bool]
Serve = Callable[[Script], str]
Ask = Callable[..., object]
# An image of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNocFAAAAIkAOGVpLGLAAAAAElFTkSuQmCC"
)
SEEDED = ImageGenerationRequest(prompt="a red fox", seed=7)
SEEDLESS = ImageGenerationRequest(prompt="a red fox")
DRAWN = ImageGenerationReply(data=(ReplyImage(bytes=PNG),))
BODY = json.dumps({"data": [{"b64_json": base64.b64encode(PNG).decode()}]}).encode()
PICTURE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
WELL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def client_of(kind: str) -> Ask:
    """Call a method of one of the two clients, without waits between attempts."""

    async def ask_async(base_url: str, method: str, *arguments: object, **settings: object) -> object:
        settings = {"timeout": 10.0, "capabilities": Capabilities(), "jitter": lambda: 0.0, **settings}
        async with AsyncOmniClient(base_url, **settings) as client:  # type: ignore[arg-type]  # settings of a test
            return await getattr(client, method)(*arguments)

    def ask_sync(base_url: str, method: str, *arguments: object, **settings: object) -> object:
        settings = {"timeout": 10.0, "capabilities": Capabilities(), "jitter": lambda: 0.0, **settings}
        with OmniClient(base_url, **settings) as client:  # type: ignore[arg-type]  # settings of a test
            return getattr(client, method)(*arguments)

    if kind == "sync":
        return ask_sync
    return lambda *arguments, **settings: asyncio.run(ask_async(*arguments, **settings))


def failure(ask: Ask, *arguments: object, **settings: object) -> OmniError:
    with pytest.raises(OmniError) as caught:
        ask(*arguments, **settings)
    return caught.value


def attempts(error: OmniError) -> int:
    assert error.exchange
    return error.exchange.attempts


def is_health(request: bytes) -> bool:
    return request.startswith(b"GET /health ")


def saying(*replies: bytes) -> Script:
    """Answer generations with one reply after another, the last one for ever, and close; health is good."""
    coming = chain(replies, repeat(replies[-1]))

    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(WELL if is_health(request) else next(coming))
        return False

    return script


def reset(connection: socket.socket) -> None:
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    )
    connection.close()
