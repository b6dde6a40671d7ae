"""OmniClient and AsyncOmniClient: the I/O, and the only place that knows httpx and tenacity.

An attempt sends one `Call` and reads one reply; tenacity repeats it as `_retry.decide` says; the total
deadline stands around everything. The two clients differ in how they wait, and in nothing else.
"""

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import SecretStr
from tenacity import AsyncRetrying, Retrying, retry_if_exception

from vllm_omni_client import _endpoints
from vllm_omni_client._attempts import Attempts
from vllm_omni_client._causes import first_words, unreachable_reason
from vllm_omni_client._connection import Connection
from vllm_omni_client._endpoints import Call
from vllm_omni_client._reply import IncomingReply, Reply
from vllm_omni_client._retry import depends_on_health
from vllm_omni_client._wire import Deadline, Wire
from vllm_omni_client.errors import (
    ConnectionLost,
    InvalidParameter,
    OmniError,
    RequestTimeout,
    ServerUnreachable,
)
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList

T = TypeVar("T")
# ASGI's own types: a scope and a message are mappings of whatever their kind has.
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_SendMessage = Callable[[_Message], Awaitable[None]]
AsgiApp = Callable[[_Message, _Receive, _SendMessage], Awaitable[None]]

_CONNECT_SECONDS: Final = 5.0
_WRITE_SECONDS: Final = 30.0
_HEALTH_SECONDS: Final = 5.0
_SHORTEST_SECONDS: Final = 0.001
# Connections are never waited for: the caller limits how many calls are under way. Idle ones are closed
# before uvicorn closes them, which it does after 5 seconds.
_ASYNC_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=3.0)
# A deadline can end a blocking read only by cutting its connection, so each call has one of its own.
_SYNC_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=0)
_UNREACHABLE: Final = "tenacity ends with a result or with the last error"


class AsyncOmniClient:
    """A client for asyncio; of one event loop at a time.

    Proxies of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) are used for public hosts
    only: loopback and private addresses, names without a dot and inner ones (.local, .internal) are
    connected to directly. SSL_CERT_FILE is honoured for all.

    Args:
        base_url: Such as "http://localhost:8000"; a `/v1` at its end is understood.
        api_key: The server's `--api-key`, if it has one.
        timeout: The total deadline of a generation in seconds, retries and their waits included. Other
            calls end after 30 seconds, a health check after 10, if this is not shorter.
        max_retries: Attempts after the first one, 0 to 100. What may have cost GPU time is sent again at
            most once, only with a seed, and only when `/health` answers 200.
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
        max_retries: int = 2,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connection = Connection.checked(
            base_url, api_key=api_key, timeout=timeout, max_retries=max_retries, clock=clock, jitter=jitter
        )
        self.base_url = self._connection.base_url
        self._sleep = sleep
        self._transport = transport
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._http = self._made()

    @classmethod
    def in_process(
        cls,
        app: AsgiApp,
        *,
        base_url: str = "http://simulator",
        api_key: str | SecretStr | None = None,
        timeout: float = 300.0,
        max_retries: int = 2,
    ) -> Self:
        """Return a client of an ASGI application in this process, without a port.

        The application's lifespan is not run. An exception in it is a 500, as over the network.
        """
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        return cls(base_url, api_key=api_key, timeout=timeout, max_retries=max_retries, transport=transport)

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        """Draw; a request without a seed is never sent again once it may have cost GPU time."""
        return await self._send(_endpoints.generate(request))

    async def get_models(self) -> ModelList:
        """Return the served names of the server's one model."""
        return await self._send(_endpoints.models())

    async def health_check(self) -> bool:
        """Ask once whether the server can work: True for 200, False for 503.

        Raises:
            ServerUnreachable: No one answers.
        """
        return await self._send(_endpoints.health())

    async def get_version(self) -> str:
        """Return vLLM's version; its first two numbers are those of vLLM-Omni."""
        return await self._send(_endpoints.version())

    async def get_metrics(self) -> ServerMetrics:
        """Return what the server counts; what it does not tell is None."""
        return await self._send(_endpoints.server_metrics())

    async def aclose(self) -> None:
        """Close all connections; the client cannot be used any more."""
        if not self._closed:
            await self._of_this_loop().aclose()
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def _made(self) -> httpx.AsyncClient:
        with _usable_environment():
            transport = self._transport
            if transport is None and self._connection.is_direct:
                transport = httpx.AsyncHTTPTransport(verify=_tls(self._connection), limits=_ASYNC_LIMITS)
            return httpx.AsyncClient(
                headers=self._connection.headers(), transport=transport, limits=_ASYNC_LIMITS
            )

    def _of_this_loop(self) -> httpx.AsyncClient:
        """Return connections of the running event loop; those of one that was closed are given up."""
        _refuse_closed(closed=self._closed)
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            if not self._loop.is_closed():
                raise InvalidParameter("this client is in use in another event loop; make one for each")
            self._http = self._made()
        self._loop = loop
        return self._http

    async def _send(self, call: Call[T]) -> T:
        attempts = self._connection.attempts(call)
        try:
            async with asyncio.timeout(attempts.policy.timeout_seconds):
                return await self._repeat(call, attempts)
        except TimeoutError as error:
            raise attempts.signed(self._connection.timed_out(attempts)) from error

    async def _repeat(self, call: Call[T], attempts: Attempts) -> T:
        retry = retry_if_exception(attempts.may_follow)
        retrying = AsyncRetrying(retry=retry, wait=attempts.wait_seconds, sleep=self._sleep, reraise=True)
        async for attempt in retrying:
            with attempt:
                return await self._attempt(call, attempts)
        raise AssertionError(_UNREACHABLE)  # pragma: no cover  # what it says

    async def _attempt(self, call: Call[T], attempts: Attempts) -> T:
        attempts.begin()
        try:
            return self._connection.read(call, await self._exchange(call, attempts.wire))
        except OmniError as error:
            failure = error
        if depends_on_health(failure, attempts.policy):
            healthy = await self._is_healthy(min(_HEALTH_SECONDS, attempts.remaining_seconds / 2))
            failure = attempts.diagnosed(failure, healthy=healthy)
        raise attempts.signed(failure)

    async def _is_healthy(self, seconds: float) -> bool:
        call = _endpoints.health()
        try:
            async with asyncio.timeout(seconds):
                return self._connection.read(call, await self._exchange(call, Wire()))
        except (OmniError, TimeoutError):
            return False

    async def _exchange(self, call: Call[T], wire: Wire) -> Reply:
        http = self._of_this_loop()
        request = http.build_request(
            call.method,
            self._connection.url(call),
            content=call.content,
            headers=call.headers,
            timeout=_timeouts(None),
            extensions={"trace": wire.note_async},
        )
        with _translated(self.base_url, wire):
            response = await http.send(request, stream=True)
            try:
                incoming = IncomingReply(call, response.status_code, _lower(response.headers))
                async for chunk in response.aiter_raw():
                    if not incoming.add(chunk):
                        break
            finally:
                await response.aclose()
        return incoming.whole()


class OmniClient:
    """A client for code without asyncio; safe to share between threads.

    Its arguments, attributes and errors are those of `AsyncOmniClient`, but for `transport`, which is a
    blocking one. Looking up a host's name is outside of the total deadline: the system's resolver does
    not let itself be interrupted.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | SecretStr | None = None,
        timeout: float = 300.0,
        max_retries: int = 2,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connection = Connection.checked(
            base_url, api_key=api_key, timeout=timeout, max_retries=max_retries, clock=clock, jitter=jitter
        )
        self.base_url = self._connection.base_url
        self._sleep = sleep
        with _usable_environment():
            if transport is None and self._connection.is_direct:
                transport = httpx.HTTPTransport(verify=_tls(self._connection), limits=_SYNC_LIMITS)
            self._http = httpx.Client(
                headers=self._connection.headers(), transport=transport, limits=_SYNC_LIMITS
            )

    def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        """Draw; a request without a seed is never sent again once it may have cost GPU time."""
        return self._send(_endpoints.generate(request))

    def get_models(self) -> ModelList:
        """Return the served names of the server's one model."""
        return self._send(_endpoints.models())

    def health_check(self) -> bool:
        """Ask once whether the server can work: True for 200, False for 503.

        Raises:
            ServerUnreachable: No one answers.
        """
        return self._send(_endpoints.health())

    def get_version(self) -> str:
        """Return vLLM's version; its first two numbers are those of vLLM-Omni."""
        return self._send(_endpoints.version())

    def get_metrics(self) -> ServerMetrics:
        """Return what the server counts; what it does not tell is None."""
        return self._send(_endpoints.server_metrics())

    def close(self) -> None:
        """Close all connections; the client cannot be used any more."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def _send(self, call: Call[T]) -> T:
        attempts = self._connection.attempts(call)
        try:
            return self._repeat(call, attempts)
        except TimeoutError as error:
            raise attempts.signed(self._connection.timed_out(attempts)) from error

    def _repeat(self, call: Call[T], attempts: Attempts) -> T:
        retry = retry_if_exception(attempts.may_follow)
        for attempt in Retrying(retry=retry, wait=attempts.wait_seconds, sleep=self._sleep, reraise=True):
            with attempt:
                return self._attempt(call, attempts)
        raise AssertionError(_UNREACHABLE)  # pragma: no cover  # what it says

    def _attempt(self, call: Call[T], attempts: Attempts) -> T:
        attempts.begin()
        try:
            return self._connection.read(
                call, self._exchange(call, attempts.wire, attempts.remaining_seconds)
            )
        except OmniError as error:
            failure = error
        if depends_on_health(failure, attempts.policy):
            healthy = self._is_healthy(min(_HEALTH_SECONDS, attempts.remaining_seconds / 2))
            failure = attempts.diagnosed(failure, healthy=healthy)
        raise attempts.signed(failure)

    def _is_healthy(self, seconds: float) -> bool:
        call = _endpoints.health()
        try:
            return self._connection.read(call, self._exchange(call, Wire(), seconds))
        except (OmniError, TimeoutError):
            return False

    def _exchange(self, call: Call[T], wire: Wire, seconds: float) -> Reply:
        _refuse_closed(closed=self._http.is_closed)
        request = self._http.build_request(
            call.method,
            self._connection.url(call),
            content=call.content,
            headers=call.headers,
            timeout=_timeouts(max(seconds, _SHORTEST_SECONDS)),
            extensions={"trace": wire.note},
        )
        with _translated(self.base_url, wire), Deadline(wire, seconds):
            response = self._http.send(request, stream=True)
            try:
                incoming = IncomingReply(call, response.status_code, _lower(response.headers))
                for chunk in response.iter_raw():
                    if not incoming.add(chunk):
                        break
            finally:
                response.close()
        return incoming.whole()


def _lower(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _refuse_closed(*, closed: bool) -> None:
    if closed:
        raise InvalidParameter("this client was closed; make a new one")


def _timeouts(seconds: float | None) -> httpx.Timeout:
    """Return the limits of one attempt's steps; the total deadline is kept around them."""
    connect, write = (
        limit if seconds is None else min(limit, seconds) for limit in (_CONNECT_SECONDS, _WRITE_SECONDS)
    )
    return httpx.Timeout(connect=connect, read=seconds, write=write, pool=None)


def _tls(connection: Connection) -> ssl.SSLContext | bool:
    """Return how certificates are checked; without TLS, spare the reading of all that are known."""
    return True if connection.is_encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextmanager
def _usable_environment() -> Generator[None]:
    """Give a proxy or certificate setting that httpx cannot use a name; its value may hold a password."""
    try:
        yield
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise InvalidParameter(
            "the environment's proxy or certificate settings cannot be used; "
            "look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
        ) from error


@contextmanager
def _translated(base_url: str, wire: Wire) -> Generator[None]:
    """Give httpx's errors our names; the rest of this package never sees them."""
    began = time.monotonic()
    try:
        yield
    except httpx.HTTPError as error:
        stale = wire.was_stale(time.monotonic() - began)
        raise _translation(error, base_url, stale=stale) from error


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
            return RequestTimeout(f"no answer from {base_url} in time")
        case _:
            message = f"the connection to {base_url} broke: {first_words(error)}"
            return ConnectionLost(message, gpu_spent="no" if stale else None)
