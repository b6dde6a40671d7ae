"""OmniClient and AsyncOmniClient: the I/O, and the only place that knows httpx and tenacity.

An attempt sends one `Call` and reads one reply; tenacity repeats it as `_retry.decide` says; the total
deadline stands around everything. What a call does step by step stands in `_flows`: the two clients differ
in how they wait, and in nothing else.
"""

import asyncio
import math
import os
import random
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, Self, TypeVar
from urllib.request import getproxies

import httpx
from pydantic import SecretStr
from tenacity import AsyncRetrying, Retrying, retry_if_exception

from vllm_omni_client._async_calls import AsyncCalls
from vllm_omni_client._blocking_calls import BlockingCalls
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.connect_errors import first_words, unreachable_reason
from vllm_omni_client._protocol.connection_settings import ConnectionSettings, as_secret
from vllm_omni_client._protocol.connection_trace import Deadline, Wire
from vllm_omni_client._protocol.endpoints import Call
from vllm_omni_client._protocol.flows import Ask, Flow
from vllm_omni_client._protocol.proxy import proxy_for
from vllm_omni_client._protocol.reply_body import IncomingReply, Reply
from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.errors import (
    ConnectionLost,
    InvalidParameter,
    OmniError,
    RequestTimeout,
    ServerUnreachable,
)

T = TypeVar("T")
# ASGI's own types: a scope and a message are mappings of whatever their kind has.
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_SendMessage = Callable[[_Message], Awaitable[None]]
AsgiApp = Callable[[_Message, _Receive, _SendMessage], Awaitable[None]]

_WRITE_SECONDS: Final = 30.0
_SHORTEST_SECONDS: Final = 0.001
_AFTER_DEADLINE_SECONDS: Final = 0.5
# Idle connections are closed before uvicorn closes them, which it does after 5 seconds.
_IDLE_SECONDS: Final = 3.0
_UNREACHABLE: Final = "tenacity ends with a result or with the last error"


class AsyncOmniClient(AsyncCalls):
    """A client for asyncio; of one event loop at a time.

    Proxies of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) are used for public hosts
    only: loopback and private addresses, names without a dot and inner ones (.local, .internal) are
    connected to directly. SSL_CERT_FILE is honoured for all.

    Args:
        base_url: Such as "http://localhost:8000"; a `/v1` at its end is understood.
        api_key: The server's `--api-key`, if it has one.
        timeout: The total deadline of a generation in seconds, retries and their waits included. Other
            calls end after 30 seconds, a health check after 10, if this is not shorter.
        connect_timeout: How long making a connection may take, in seconds.
        read_timeout: How long the server may say nothing, in seconds; None for as long as `timeout`. It says
            nothing while it draws, and while a request waits in its queue.
        max_retries: Attempts after the first one, 0 to 100. What may have cost GPU time is sent again at
            most once, with the same seed, and only when `/health` answers 200.
        max_connections: How many pictures may be under way at once, 1 to 10,000; further calls wait for
            their turn, within their deadline. Other questions never wait.
        strict: Whether a field that this server would ignore in silence is an error; else it is left out,
            and named in the reply's `ignored`.
        capabilities: What the server can do, for a caller who knows; None to ask it, once, before the first
            picture, and again when it may have changed.
        transport: An httpx transport in place of the network; it is closed with the client.
        clock: Seconds on a clock that never goes back.
        sleep: Waits between attempts.
        jitter: Draws a number evenly from [0, 1), by which waits are shortened.

    Attributes:
        base_url: The server's address, without a slash, a `/v1` or a user name.

    Raises:
        InvalidParameter: One of the arguments, or the environment's proxy, cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | SecretStr | None = None,
        timeout: float = 300.0,  # the deadline of later calls, not of this one
        connect_timeout: float = 5.0,
        read_timeout: float | None = None,
        max_retries: int = 2,
        max_connections: int = 100,
        strict: bool = True,
        capabilities: Capabilities | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        api_key = as_secret(api_key)
        connection = ConnectionSettings.from_arguments(
            base_url,
            api_key=api_key,
            timeout=timeout,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_retries=max_retries,
            max_connections=max_connections,
            clock=clock,
            jitter=jitter,
        )
        super().__init__(connection, strict=strict, capabilities=capabilities)
        self._sleep = sleep
        self._transport = transport
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._renew()

    @classmethod
    def in_process(
        cls,
        app: AsgiApp,
        *,
        base_url: str = "http://simulator",
        api_key: str | SecretStr | None = None,
        timeout: float = 300.0,
        max_retries: int = 2,
        strict: bool = True,
    ) -> Self:
        """Return a client of an ASGI application in this process, without a port.

        The application's lifespan is not run. An exception in it is a 500, as over the network.
        """
        return cls(
            base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            strict=strict,
            transport=httpx.ASGITransport(app=app, raise_app_exceptions=False),
        )

    async def aclose(self) -> None:
        """End the calls under way with ConnectionLost and close all connections, for good."""
        if self._closed:
            return
        http = self._of_this_loop()
        self._closed = True
        for deadline in self._deadlines:
            deadline.reschedule(asyncio.get_running_loop().time())
        await http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _renew(self) -> None:
        """Begin anew: what was there belongs to another event loop, or to the process that this one left."""
        # The pool itself has no limit, so that nothing ever waits in it: whoever waits, waits for a place.
        limits = httpx.Limits(
            max_connections=None,
            max_keepalive_connections=self._connection.max_connections,
            keepalive_expiry=_IDLE_SECONDS,
        )
        with _usable_environment():
            proxy = proxy_for(self.base_url, getproxies())
            transport = self._transport or httpx.AsyncHTTPTransport(
                verify=_tls(self._connection, proxy), limits=limits, proxy=proxy
            )
            self._http = httpx.AsyncClient(
                headers=self._connection.headers(), transport=transport, cookies=_no_cookies()
            )
        self._places = asyncio.Semaphore(self._connection.max_connections)
        self._learning = asyncio.Lock()
        self._process = os.getpid()
        self._deadlines: set[asyncio.Timeout] = set()

    def _of_this_loop(self) -> httpx.AsyncClient:
        """Return connections of the running event loop; those of one that was closed are given up."""
        _refuse_closed(closed=self._closed)
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            if not self._loop.is_closed():
                raise InvalidParameter("this client is in use in another event loop; make one for each")
            self._renew()
        if self._process != os.getpid():
            self._renew()
        self._loop = loop
        return self._http

    async def _capabilities(self, attempts: Attempts) -> Capabilities:
        """Return what the server can do, learnt within the call's own time if need be."""
        self._of_this_loop()
        if known := self._server.current:
            return known
        seconds = self._flows.learning_seconds(attempts)
        try:
            async with asyncio.timeout(seconds), self._learning:
                return self._server.current or await self._drive(self._flows.learn(seconds))
        except TimeoutError:
            return self._server.learn(Capabilities())

    async def _send(self, call: Call[T], attempts: Attempts | None = None) -> T:
        attempts = attempts or self._connection.attempts(call)
        self._of_this_loop()
        deadline = asyncio.timeout(attempts.remaining_seconds)
        self._deadlines.add(deadline)
        try:
            async with deadline:
                value = await self._repeat(call, attempts)
        except TimeoutError as error:
            ended = _closed_in_flight() if self._closed else self._connection.timeout_error(attempts)
            raise attempts.sign(ended) from error
        finally:
            self._deadlines.discard(deadline)
        attempts.record_success()
        return value

    async def _repeat(self, call: Call[T], attempts: Attempts) -> T:
        retry = retry_if_exception(attempts.may_follow)
        retrying = AsyncRetrying(retry=retry, wait=attempts.wait_seconds, sleep=self._sleep, reraise=True)
        async for attempt in retrying:
            with attempt:
                return await self._drive(self._flows.attempt(call, attempts))
        raise AssertionError(_UNREACHABLE)  # pragma: no cover  # what it says

    async def _drive(self, flow: Flow[T]) -> T:
        """Do what a flow asks for, until it is at its end."""
        try:
            ask = next(flow)
            while True:
                try:
                    reply = await self._exchange(ask)
                except (OmniError, TimeoutError) as error:
                    ask = flow.throw(error)
                else:
                    ask = flow.send(reply)
        except StopIteration as end:
            return end.value

    async def _exchange(self, ask: Ask) -> Reply:
        async with asyncio.timeout(ask.seconds):
            if not ask.call.draws:
                return await self._exchange_now(ask)
            ask.wire.waiting = True
            async with self._places:
                ask.wire.waiting = False
                return await self._exchange_now(ask)

    async def _exchange_now(self, ask: Ask) -> Reply:
        http, call = self._of_this_loop(), ask.call
        request = http.build_request(
            call.method,
            self._connection.url(call),
            content=call.content,
            headers=call.headers,
            timeout=_timeouts(self._connection),
            extensions={"trace": ask.wire.note_async},
        )
        with _translate_errors(self.base_url, ask.wire):
            response = await http.send(request, stream=True)
            try:
                incoming = IncomingReply(call, response.status_code, _lower(response.headers))
                async for chunk in response.aiter_raw():
                    if not incoming.add(chunk):
                        break
            finally:
                await response.aclose()
        return incoming.whole()


class OmniClient(BlockingCalls):
    """A client for code without asyncio; safe to share between threads.

    Its arguments, methods and errors are those of `AsyncOmniClient`, but for `transport`, which is a
    blocking one, and `sleep`, which is None for waits that end when the client is closed. Looking up a
    host's name is outside of the total deadline: the system's resolver does not let itself be interrupted.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | SecretStr | None = None,
        timeout: float = 300.0,
        connect_timeout: float = 5.0,
        read_timeout: float | None = None,
        max_retries: int = 2,
        max_connections: int = 100,
        strict: bool = True,
        capabilities: Capabilities | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        api_key = as_secret(api_key)
        connection = ConnectionSettings.from_arguments(
            base_url,
            api_key=api_key,
            timeout=timeout,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_retries=max_retries,
            max_connections=max_connections,
            clock=clock,
            jitter=jitter,
        )
        super().__init__(connection, strict=strict, capabilities=capabilities)
        self._closing = threading.Event()
        self._sleep = sleep or self._wait
        self._transport = transport
        self._renew()

    def close(self) -> None:
        """End the calls under way with ConnectionLost and close all connections, for good."""
        self._closing.set()
        for wire in tuple(self._wires):
            wire.cut()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _renew(self) -> None:
        """Begin anew: what was there belongs to the process that this one left."""
        # A deadline can end a blocking read only by cutting its connection, so each call has one of its own.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        with _usable_environment():
            proxy = proxy_for(self.base_url, getproxies())
            transport = self._transport or httpx.HTTPTransport(
                verify=_tls(self._connection, proxy), limits=limits, proxy=proxy
            )
            self._http = httpx.Client(
                headers=self._connection.headers(), transport=transport, cookies=_no_cookies()
            )
        self._places = threading.Semaphore(self._connection.max_connections)
        self._learning = threading.Lock()
        self._wires: set[Wire] = set()
        self._process = os.getpid()

    def _of_this_process(self) -> httpx.Client:
        """Return connections of this process; after a fork, those of the other one are given up."""
        _refuse_closed(closed=self._closing.is_set())
        if self._process != os.getpid():
            self._renew()
        return self._http

    def _wait(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def _capabilities(self, attempts: Attempts) -> Capabilities:
        """Return what the server can do, learnt within the call's own time if need be."""
        self._of_this_process()
        seconds = self._flows.learning_seconds(attempts)
        if known := self._server.current:
            return known
        if not self._learning.acquire(timeout=seconds):
            return Capabilities()
        try:
            return self._server.current or self._drive(self._flows.learn(seconds))
        finally:
            self._learning.release()

    def _send(self, call: Call[T], attempts: Attempts | None = None) -> T:
        attempts = attempts or self._connection.attempts(call)
        self._of_this_process()
        try:
            value = self._repeat(call, attempts)
        except TimeoutError as error:
            raise attempts.sign(self._connection.timeout_error(attempts)) from error
        except OmniError as error:
            if self._closing.is_set():
                raise attempts.sign(_closed_in_flight()) from error
            raise
        attempts.record_success()
        return value

    def _repeat(self, call: Call[T], attempts: Attempts) -> T:
        retry = retry_if_exception(attempts.may_follow)
        for attempt in Retrying(retry=retry, wait=attempts.wait_seconds, sleep=self._sleep, reraise=True):
            with attempt:
                return self._drive(self._flows.attempt(call, attempts))
        raise AssertionError(_UNREACHABLE)  # pragma: no cover  # what it says

    def _drive(self, flow: Flow[T]) -> T:
        """Do what a flow asks for, until it is at its end."""
        try:
            ask = next(flow)
            while True:
                try:
                    reply = self._exchange(ask)
                except (OmniError, TimeoutError) as error:
                    ask = flow.throw(error)
                else:
                    ask = flow.send(reply)
        except StopIteration as end:
            return end.value

    def _exchange(self, ask: Ask) -> Reply:
        if not ask.call.draws:
            return self._exchange_now(ask, ask.seconds)
        places, began = self._places, time.monotonic()
        ask.wire.waiting = True
        if not places.acquire(timeout=ask.seconds):
            raise TimeoutError
        ask.wire.waiting = False
        try:
            return self._exchange_now(ask, ask.seconds - (time.monotonic() - began))
        finally:
            places.release()

    def _exchange_now(self, ask: Ask, seconds: float) -> Reply:
        http, call, wire = self._of_this_process(), ask.call, ask.wire
        request = http.build_request(
            call.method,
            self._connection.url(call),
            content=call.content,
            headers=call.headers,
            timeout=_timeouts(self._connection, max(seconds, _SHORTEST_SECONDS)),
            extensions={"trace": wire.note},
        )
        with self._cuttable(wire), _translate_errors(self.base_url, wire), Deadline(wire, seconds):
            response = http.send(request, stream=True)
            try:
                incoming = IncomingReply(call, response.status_code, _lower(response.headers))
                for chunk in response.iter_raw():
                    if not incoming.add(chunk):
                        break
            finally:
                response.close()
        return incoming.whole()

    @contextmanager
    def _cuttable(self, wire: Wire) -> Generator[None]:
        """Let `close` end what is under way on a wire."""
        self._wires.add(wire)
        try:
            if self._closing.is_set():
                wire.cut()
            yield
        finally:
            self._wires.discard(wire)


def _lower(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _refuse_closed(*, closed: bool) -> None:
    if closed:
        raise InvalidParameter("this client was closed; make a new one")


def _closed_in_flight() -> ConnectionLost:
    return ConnectionLost("this client was closed while the call was under way")


def _timeouts(connection: ConnectionSettings, seconds: float = math.inf) -> httpx.Timeout:
    """Return the limits of one attempt's steps; the total deadline is kept around them, and comes first."""
    read = min(connection.read_seconds, seconds + _AFTER_DEADLINE_SECONDS)
    return httpx.Timeout(
        connect=min(connection.connect_seconds, seconds),
        read=None if math.isinf(read) else read,
        write=min(_WRITE_SECONDS, seconds),
        pool=None,
    )


def _no_cookies() -> CookieJar:
    """Return a jar that takes no cookie: what one reply sets must not change the next request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def _tls(connection: ConnectionSettings, proxy: str | None) -> ssl.SSLContext | bool:
    """Return how certificates are checked; without TLS, spare the reading of all that are known."""
    return True if connection.is_encrypted or proxy else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextmanager
def _usable_environment() -> Generator[None]:
    """Name the proxy or certificate settings when httpx cannot use one; its value may hold a password."""
    try:
        yield
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise InvalidParameter(
            "the environment's proxy or certificate settings cannot be used; "
            "look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE"
        ) from error


@contextmanager
def _translate_errors(base_url: str, wire: Wire) -> Generator[None]:
    """Give httpx's errors our names; the rest of this package never sees them."""
    try:
        yield
    except httpx.HTTPError as error:
        raise _translation(error, base_url, stale=wire.was_stale()) from error


def _translation(error: httpx.HTTPError, base_url: str, *, stale: bool) -> OmniError:
    match error:
        case httpx.ConnectTimeout():
            return ServerUnreachable(f"{base_url} does not answer", reason="timeout")
        case httpx.ConnectError() | httpx.ProxyError():
            message = f"{base_url} cannot be reached: {first_words(error)}"
            return ServerUnreachable(message, reason=unreachable_reason(error))
        case httpx.PoolTimeout() | httpx.WriteTimeout():
            return RequestTimeout(f"the request could not be sent to {base_url} in time", gpu_spent="no")
        case httpx.TimeoutException():
            return RequestTimeout(f"{base_url} said nothing for longer than read_timeout allows")
        case _:
            message = f"the connection to {base_url} broke: {first_words(error)}"
            return ConnectionLost(message, stale=stale)
