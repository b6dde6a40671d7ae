"""Replies are read in large pieces, and errors are httpx's own."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from vllm_omni_client._transport.large_reads import LargeReadTransport

MIB = 1024 * 1024
Talk = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(talk: Talk) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a server that answers like this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await talk(writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    transport = LargeReadTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), idle_seconds=3.0)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
            yield client


async def test_a_long_reply_arrives_in_pieces_larger_than_the_64_kib_of_httpcore() -> None:
    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (8 * MIB) + bytes(8 * MIB))
        await writer.drain()

    async with served(talk) as client, client.stream("GET", "/") as response:
        pieces = [len(piece) async for piece in response.aiter_raw()]
    assert sum(pieces) == 8 * MIB
    assert max(pieces) > 64 * 1024


async def test_a_reply_that_is_cut_off_is_a_protocol_error_of_httpx() -> None:
    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    async with served(talk) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")


async def test_a_silent_server_is_a_read_timeout_of_httpx() -> None:
    done = asyncio.Event()

    async def talk(_: asyncio.StreamWriter) -> None:
        await done.wait()

    async with served(talk) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=0.05)
        done.set()


async def test_an_unreachable_server_is_a_connect_error_of_httpx_with_its_cause() -> None:
    transport = LargeReadTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), idle_seconds=3.0)
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get("http://127.0.0.1:1/")
    assert caught.value.__cause__ is not None
