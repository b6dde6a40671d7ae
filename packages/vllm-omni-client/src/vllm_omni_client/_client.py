"""OmniClient and AsyncOmniClient: the I/O, and the only place that knows httpx and tenacity.

An attempt sends one `Call` and reads one reply; tenacity repeats it as `_retry.decide` says; the total
deadline stands around everything. The two clients differ in how they wait, and in nothing else.
"""

import asyncio
import os
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Generator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Any, Final, Literal, Self, TypeVar, overload

import httpx
from pydantic import SecretStr
from tenacity import AsyncRetrying, Retrying, retry_if_exception

from vllm_omni_client import _endpoints
from vllm_omni_client._attempts import Attempts
from vllm_omni_client._causes import first_words, unreachable_reason
from vllm_omni_client._connection import Connection
from vllm_omni_client._endpoints import Call
from vllm_omni_client._fitting import fitted_edit, fitted_generation
from vllm_omni_client._known_server import KnownServer
from vllm_omni_client._outcome import refuse_several, saved, with_receipt
from vllm_omni_client._picture_file import PictureFile
from vllm_omni_client._reply import IncomingReply, Reply
from vllm_omni_client._saving import NewFile
from vllm_omni_client._wire import Deadline, Wire
from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import (
    ConnectionLost,
    InvalidParameter,
    OmniError,
    RequestTimeout,
    ServerUnreachable,
)
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList
from vllm_omni_client.saved import SavedImage
from vllm_omni_client.uploads import InputImage, uploads

T = TypeVar("T")
# ASGI's own types: a scope and a message are mappings of whatever their kind has.
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_SendMessage = Callable[[_Message], Awaitable[None]]
AsgiApp = Callable[[_Message, _Receive, _SendMessage], Awaitable[None]]

_CONNECT_SECONDS: Final = 5.0
_WRITE_SECONDS: Final = 30.0
_HEALTH_SECONDS: Final = 5.0
# What a server is may cost this much of a call's time to learn, and not more than a quarter of it.
_LEARNING_SECONDS: Final = 5.0
_LEARNING_SHARE: Final = 4
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
        max_retries: int = 2,
        strict: bool = True,
        capabilities: Capabilities | None = None,
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
        self._strict = strict
        self._server = KnownServer(clock, capabilities)
        self._learning = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._deadlines: set[asyncio.Timeout] = set()
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
        strict: bool = True,
    ) -> Self:
        """Return a client of an ASGI application in this process, without a port.

        The application's lifespan is not run. An exception in it is a 500, as over the network.
        """
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        return cls(
            base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            strict=strict,
            transport=transport,
        )

    @overload
    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply: ...

    @overload
    async def generate_image(
        self, request: ImageGenerationRequest, /, *, into: str | Path, overwrite: bool = False
    ) -> SavedImage: ...

    async def generate_image(
        self,
        request: ImageGenerationRequest,
        /,
        *,
        into: str | Path | None = None,
        overwrite: bool = False,
    ) -> ImageGenerationReply | SavedImage:
        """Draw; a request without a seed is never sent again once it may have cost GPU time.

        Args:
            request: What to draw.
            into: A file for the picture. It is written while it arrives, whole or not at all, and its own
                bytes are asked for where the server has that and no metrics per stage are wanted.
            overwrite: Whether a file that is there already is replaced.

        Raises:
            UnsupportedParameter: In strict mode: this server would ignore a field in silence.
            InvalidParameter: `into` cannot be written, or more than one picture is asked for.
            FileExistsError: Someone else has made that file while the picture was drawn.
            OSError: The file cannot be written, as when the disk is full.
        """
        if into is not None:
            return await self._generate_into(request, Path(into), overwrite=overwrite)
        attempts = self._connection.attempts(_endpoints.generate(request))
        fitted = fitted_generation(request, await self._known(attempts), strict=self._strict)
        reply = await self._send(_endpoints.generate(fitted.sent), attempts)
        return with_receipt(fitted, reply, attempts)

    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
    ) -> ImageGenerationReply:
        """Change pictures; without a seed it is never sent again once it may have cost GPU time.

        The server goes on with an edit whose client has gone away.

        Args:
            request: What to change.
            image: 1 to 4 pictures to start from, each a path, bytes, a file opened in binary mode, or a
                Pillow image. They are uploaded; an address is refused.
            mask_image: White where the picture may change, for models that paint in.
            reference_image: A picture to take over from, for models that do.

        Raises:
            UnsupportedParameter: In strict mode: this server would ignore a field in silence.
            InvalidParameter: A picture cannot be read.
        """
        read = await asyncio.to_thread(uploads, image, mask_image=mask_image, reference_image=reference_image)
        attempts = self._connection.attempts(_endpoints.edit(request, ()))
        fitted, pictures = fitted_edit(request, read, await self._known(attempts), strict=self._strict)
        reply = await self._send(_endpoints.edit(fitted.sent, pictures), attempts)
        return with_receipt(fitted, reply, attempts)

    async def capabilities(self) -> Capabilities:
        """Return which fields and routes the server has; asked once, and again when it may have changed.

        Raises:
            ServerUnreachable: No one answers.
        """
        known = await self._known(self._connection.attempts(_endpoints.openapi()))
        if known.source == "unknown":
            await self.health_check()
        return known

    async def sleep(self, *, level: Literal[1, 2] = 2, stage_ids: Sequence[int] = (0,)) -> bool:
        """Have the server give its GPU memory back; True when it has. Needs 0.20 or later.

        Args:
            level: 1 moves the weights to main memory, 2 drops them.
            stage_ids: Which stages; a server that only draws has the one.
        """
        return await self._send(_endpoints.sleep(stage_ids, level))

    async def wake_up(self, *, stage_ids: Sequence[int] = (0,)) -> bool:
        """Have the server load its weights again; False when it was not asleep. Needs 0.20 or later."""
        return await self._send(_endpoints.wake_up(stage_ids))

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
        version = await self._send(_endpoints.version())
        self._server.hear(version)
        return version

    async def get_metrics(self) -> ServerMetrics:
        """Return what the server counts; what it does not tell is None."""
        return await self._send(_endpoints.server_metrics())

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
            self._renew()
        if self._process != os.getpid():
            self._renew()
        self._loop = loop
        return self._http

    def _renew(self) -> None:
        """Give up connections that belong to another event loop, or to the process that this one left."""
        self._http = self._made()
        self._learning = asyncio.Lock()
        self._process = os.getpid()
        self._deadlines = set()

    async def _known(self, attempts: Attempts) -> Capabilities:
        """Return what the server can do, learnt within the call's own time if need be."""
        seconds = min(_LEARNING_SECONDS, attempts.remaining_seconds / _LEARNING_SHARE)
        self._of_this_loop()
        try:
            async with asyncio.timeout(seconds):
                return self._server.believed or await self._learn()
        except TimeoutError:
            return self._server.learn(Capabilities())

    async def _learn(self) -> Capabilities:
        async with self._learning:
            if self._server.believed:
                return self._server.believed
            version = await self._quietly(_endpoints.version())
            if renewed := self._server.renewed(version):
                return renewed
            description = await self._quietly(_endpoints.openapi())
            return self._server.learn(Capabilities.of_openapi(description or b"", version))

    async def _quietly(self, call: Call[T]) -> T | None:
        """Return what the server tells of itself; what it does not tell is no failure of the call."""
        try:
            return self._connection.read(call, await self._exchange(call, Wire()))
        except OmniError:
            return None

    async def _generate_into(
        self, request: ImageGenerationRequest, path: Path, *, overwrite: bool
    ) -> SavedImage:
        refuse_several(request)
        attempts = self._connection.attempts(_endpoints.generate(request))
        server = await self._known(attempts)
        fitted = fitted_generation(request, server, strict=self._strict, into_file=True)
        with NewFile(path, overwrite=overwrite) as new:
            file = PictureFile(new, most_pixels=_endpoints.most_pixels(request))
            arrived = await self._send(_endpoints.generate_into(fitted.sent, file), attempts)
            return saved(fitted, file, arrived, attempts)

    async def _send(self, call: Call[T], attempts: Attempts | None = None) -> T:
        attempts = attempts or self._connection.attempts(call)
        self._of_this_loop()
        deadline = asyncio.timeout(attempts.remaining_seconds)
        self._deadlines.add(deadline)
        try:
            async with deadline:
                value = await self._repeat(call, attempts)
        except TimeoutError as error:
            ended = _closed_under_way() if self._closed else self._connection.timed_out(attempts)
            raise attempts.signed(ended) from error
        finally:
            self._deadlines.discard(deadline)
        attempts.succeeded()
        return value

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
        self._server.doubt(failure)
        if attempts.depend_on_health(failure):
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
        """Send and receive; over a new connection where an idle one turns out to be closed already."""
        try:
            return await self._exchange_once(call, wire)
        except ConnectionLost as error:
            if error.gpu_spent != "no":
                raise
        wire.restart()
        return await self._exchange_once(call, wire)

    async def _exchange_once(self, call: Call[T], wire: Wire) -> Reply:
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
    blocking one, and `sleep`, which is None for waits that end when the client is closed. Looking up a
    host's name is outside of the total deadline: the system's resolver does not let itself be interrupted.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | SecretStr | None = None,
        timeout: float = 300.0,
        max_retries: int = 2,
        strict: bool = True,
        capabilities: Capabilities | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connection = Connection.checked(
            base_url, api_key=api_key, timeout=timeout, max_retries=max_retries, clock=clock, jitter=jitter
        )
        self.base_url = self._connection.base_url
        self._closing = Event()
        self._sleep = sleep or self._wait
        self._strict = strict
        self._server = KnownServer(clock, capabilities)
        self._learning = Lock()
        self._wires: set[Wire] = set()
        self._transport = transport
        self._process = os.getpid()
        self._http = self._made()

    @overload
    def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply: ...

    @overload
    def generate_image(
        self, request: ImageGenerationRequest, /, *, into: str | Path, overwrite: bool = False
    ) -> SavedImage: ...

    def generate_image(
        self,
        request: ImageGenerationRequest,
        /,
        *,
        into: str | Path | None = None,
        overwrite: bool = False,
    ) -> ImageGenerationReply | SavedImage:
        """Draw; a request without a seed is never sent again once it may have cost GPU time.

        Args:
            request: What to draw.
            into: A file for the picture. It is written while it arrives, whole or not at all, and its own
                bytes are asked for where the server has that and no metrics per stage are wanted.
            overwrite: Whether a file that is there already is replaced.

        Raises:
            UnsupportedParameter: In strict mode: this server would ignore a field in silence.
            InvalidParameter: `into` cannot be written, or more than one picture is asked for.
            FileExistsError: Someone else has made that file while the picture was drawn.
            OSError: The file cannot be written, as when the disk is full.
        """
        if into is not None:
            return self._generate_into(request, Path(into), overwrite=overwrite)
        attempts = self._connection.attempts(_endpoints.generate(request))
        fitted = fitted_generation(request, self._known(attempts), strict=self._strict)
        reply = self._send(_endpoints.generate(fitted.sent), attempts)
        return with_receipt(fitted, reply, attempts)

    def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
    ) -> ImageGenerationReply:
        """Change pictures; without a seed it is never sent again once it may have cost GPU time.

        The server goes on with an edit whose client has gone away.

        Args:
            request: What to change.
            image: 1 to 4 pictures to start from, each a path, bytes, a file opened in binary mode, or a
                Pillow image. They are uploaded; an address is refused.
            mask_image: White where the picture may change, for models that paint in.
            reference_image: A picture to take over from, for models that do.

        Raises:
            UnsupportedParameter: In strict mode: this server would ignore a field in silence.
            InvalidParameter: A picture cannot be read.
        """
        read = uploads(image, mask_image=mask_image, reference_image=reference_image)
        attempts = self._connection.attempts(_endpoints.edit(request, ()))
        fitted, pictures = fitted_edit(request, read, self._known(attempts), strict=self._strict)
        reply = self._send(_endpoints.edit(fitted.sent, pictures), attempts)
        return with_receipt(fitted, reply, attempts)

    def capabilities(self) -> Capabilities:
        """Return which fields and routes the server has; asked once, and again when it may have changed.

        Raises:
            ServerUnreachable: No one answers.
        """
        known = self._known(self._connection.attempts(_endpoints.openapi()))
        if known.source == "unknown":
            self.health_check()
        return known

    def sleep(self, *, level: Literal[1, 2] = 2, stage_ids: Sequence[int] = (0,)) -> bool:
        """Have the server give its GPU memory back; True when it has. Needs 0.20 or later.

        Args:
            level: 1 moves the weights to main memory, 2 drops them.
            stage_ids: Which stages; a server that only draws has the one.
        """
        return self._send(_endpoints.sleep(stage_ids, level))

    def wake_up(self, *, stage_ids: Sequence[int] = (0,)) -> bool:
        """Have the server load its weights again; False when it was not asleep. Needs 0.20 or later."""
        return self._send(_endpoints.wake_up(stage_ids))

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
        version = self._send(_endpoints.version())
        self._server.hear(version)
        return version

    def get_metrics(self) -> ServerMetrics:
        """Return what the server counts; what it does not tell is None."""
        return self._send(_endpoints.server_metrics())

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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def _made(self) -> httpx.Client:
        with _usable_environment():
            transport = self._transport
            if transport is None and self._connection.is_direct:
                transport = httpx.HTTPTransport(verify=_tls(self._connection), limits=_SYNC_LIMITS)
            return httpx.Client(headers=self._connection.headers(), transport=transport, limits=_SYNC_LIMITS)

    def _of_this_process(self) -> httpx.Client:
        """Return connections of this process; after a fork, those of the other one are given up."""
        _refuse_closed(closed=self._closing.is_set())
        if self._process != os.getpid():
            self._http = self._made()
            self._learning = Lock()
            self._wires = set()
            self._process = os.getpid()
        return self._http

    def _wait(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def _known(self, attempts: Attempts) -> Capabilities:
        """Return what the server can do, learnt within the call's own time if need be."""
        self._of_this_process()
        seconds = min(_LEARNING_SECONDS, attempts.remaining_seconds / _LEARNING_SHARE)
        if known := self._server.believed:
            return known
        if not self._learning.acquire(timeout=seconds):
            return Capabilities()
        try:
            return self._server.believed or self._learn(seconds / 2)
        finally:
            self._learning.release()

    def _learn(self, seconds: float) -> Capabilities:
        version = self._quietly(_endpoints.version(), seconds)
        if renewed := self._server.renewed(version):
            return renewed
        description = self._quietly(_endpoints.openapi(), seconds)
        return self._server.learn(Capabilities.of_openapi(description or b"", version))

    def _quietly(self, call: Call[T], seconds: float) -> T | None:
        """Return what the server tells of itself; what it does not tell is no failure of the call."""
        try:
            return self._connection.read(call, self._exchange(call, Wire(), seconds))
        except (OmniError, TimeoutError):
            return None

    def _generate_into(self, request: ImageGenerationRequest, path: Path, *, overwrite: bool) -> SavedImage:
        refuse_several(request)
        attempts = self._connection.attempts(_endpoints.generate(request))
        fitted = fitted_generation(request, self._known(attempts), strict=self._strict, into_file=True)
        with NewFile(path, overwrite=overwrite) as new:
            file = PictureFile(new, most_pixels=_endpoints.most_pixels(request))
            arrived = self._send(_endpoints.generate_into(fitted.sent, file), attempts)
            return saved(fitted, file, arrived, attempts)

    def _send(self, call: Call[T], attempts: Attempts | None = None) -> T:
        attempts = attempts or self._connection.attempts(call)
        self._of_this_process()
        try:
            value = self._repeat(call, attempts)
        except TimeoutError as error:
            raise attempts.signed(self._connection.timed_out(attempts)) from error
        except OmniError as error:
            if self._closing.is_set():
                raise attempts.signed(_closed_under_way()) from error
            raise
        attempts.succeeded()
        return value

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
        self._server.doubt(failure)
        if attempts.depend_on_health(failure):
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
        http = self._of_this_process()
        request = http.build_request(
            call.method,
            self._connection.url(call),
            content=call.content,
            headers=call.headers,
            timeout=_timeouts(max(seconds, _SHORTEST_SECONDS)),
            extensions={"trace": wire.note},
        )
        with self._cuttable(wire), _translated(self.base_url, wire), Deadline(wire, seconds):
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


def _closed_under_way() -> ConnectionLost:
    return ConnectionLost("this client was closed while the call was under way")


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
