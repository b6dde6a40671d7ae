"""Hold the connections and locks of a client, which all of its copies share until one is closed."""

import asyncio
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import httpx

from vllm_omni_client._protocol.connection_settings import ConnectionSettings
from vllm_omni_client._protocol.connection_trace import ConnectionTrace
from vllm_omni_client._transport.http_client import open_async_http, open_http
from vllm_omni_client.errors import ConnectionLost, InvalidParameter

_TWO_WAYS: Final = (
    "http_client has its own transport, proxy and certificates; configure them there, or omit http_client"
)


class Connections:
    """The connections of a blocking client; safe to share between threads.

    A caller's `http_client` stays open when these are closed.

    Raises:
        InvalidParameter: An `http_client` is given together with a setting that it has itself.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        transport: httpx.BaseTransport | None,
        http_client: httpx.Client | None,
    ) -> None:
        _check_client(settings, transport, http_client)
        self._settings = settings
        self._transport = transport
        self._given = http_client
        self.closing = threading.Event()
        self._reset()

    def _reset(self) -> None:
        """Drop the connections and locks: they belong to the parent process."""
        self._http = self._given or open_http(self._settings, self._transport)
        self.slots = threading.Semaphore(self._settings.max_connections)
        self.learn_lock = threading.Lock()
        self._traces: set[ConnectionTrace] = set()
        self._process = os.getpid()

    def open(self) -> httpx.Client:
        """Return the HTTP client of this process; start over after a fork.

        Raises:
            InvalidParameter: They are closed.
        """
        _require_open(closed=self.closing.is_set())
        if self._process != os.getpid():
            self._reset()
        return self._http

    def close(self) -> None:
        """Close all connections for good, and end the calls that are in progress."""
        self.closing.set()
        for trace in tuple(self._traces):
            trace.cut()
        if self._given is None:
            self._http.close()

    @contextmanager
    def cut_on_close(self, trace: ConnectionTrace) -> Generator[None]:
        """Let `close` cut this connection while the block runs."""
        self._traces.add(trace)
        try:
            if self.closing.is_set():
                trace.cut()
            yield
        finally:
            self._traces.discard(trace)


class AsyncConnections:
    """The connections of an asyncio client; otherwise as `Connections`."""

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        transport: httpx.AsyncBaseTransport | None,
        http_client: httpx.AsyncClient | None,
    ) -> None:
        _check_client(settings, transport, http_client)
        self._settings = settings
        self._transport = transport
        self._given = http_client
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False
        self._reset()

    def _reset(self) -> None:
        """Drop the connections and locks: they belong to another event loop or to the parent process."""
        self._http = self._given or open_async_http(self._settings, self._transport)
        self.slots = asyncio.Semaphore(self._settings.max_connections)
        self.learn_lock = asyncio.Lock()
        self._process = os.getpid()
        self.deadlines: set[asyncio.Timeout] = set()

    def open(self) -> httpx.AsyncClient:
        """Return the HTTP client of the running event loop; start over if the last loop was closed.

        Raises:
            InvalidParameter: They are closed, or in use in another event loop.
        """
        _require_open(closed=self.closed)
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            if not self._loop.is_closed():
                raise InvalidParameter("this client is in use on another event loop; create one per loop")
            self._reset()
        if self._process != os.getpid():
            self._reset()
        self._loop = loop
        return self._http

    async def aclose(self) -> None:
        """Close all connections for good, and end the calls that are in progress."""
        if self.closed:
            return
        http = self.open()
        self.closed = True
        for deadline in self.deadlines:
            deadline.reschedule(asyncio.get_running_loop().time())
        if self._given is None:
            await http.aclose()


def closed_error() -> ConnectionLost:
    """Return the error of a call that was in progress when its client was closed."""
    return ConnectionLost("this client was closed while the call was in progress")


def _require_open(*, closed: bool) -> None:
    if closed:
        raise InvalidParameter("this client is closed; create a new one")


def _check_client(settings: ConnectionSettings, transport: object, http_client: object) -> None:
    """Refuse an HTTP client together with what it would override."""
    if http_client is None:
        return
    if transport is not None or settings.verify is not True or settings.proxy is not None:
        raise InvalidParameter(_TWO_WAYS, parameter="http_client")
    if not isinstance(http_client, httpx.Client | httpx.AsyncClient):
        raise InvalidParameter(f"http_client must be an httpx client, not {type(http_client).__name__}")
