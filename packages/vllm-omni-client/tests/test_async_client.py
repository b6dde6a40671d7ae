"""The client for asyncio: cancelled, closed and shared."""

import asyncio
import socket
import threading

import pytest
from broken_server import SEEDED, Serve
from vllm_omni_client import AsyncOmniClient, Capabilities


async def test_cancelling_closes_the_socket_at_once_and_is_not_swallowed(serve: Serve) -> None:
    arrived, left = threading.Event(), threading.Event()

    def silent(connection: socket.socket, request: bytes) -> bool:
        arrived.set()
        if connection.recv(1) == b"":
            left.set()
        return False

    async with AsyncOmniClient(serve(silent), capabilities=Capabilities()) as client, asyncio.timeout(10):
        drawing = asyncio.create_task(client.generate_image(SEEDED))
        assert await asyncio.to_thread(arrived.wait, 5)
        drawing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drawing
        assert await asyncio.to_thread(left.wait, 5)


async def test_a_timeout_of_the_caller_stays_its_own(serve: Serve) -> None:
    def silent(connection: socket.socket, request: bytes) -> bool:
        connection.recv(1)
        return False

    async with AsyncOmniClient(serve(silent), capabilities=Capabilities()) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.generate_image(SEEDED)
