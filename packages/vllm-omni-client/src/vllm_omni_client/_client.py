"""OmniClient: send requests to a vLLM-Omni server from blocking code, with retries and a total deadline."""

import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Final, Literal, Self, TypeVar, Unpack, overload

import httpx
from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception

from vllm_omni_client._arguments import (
    EditValues,
    GenerationValues,
    as_request,
    take_options,
    with_named_values,
)
from vllm_omni_client._base import BaseClient, in_memory
from vllm_omni_client._protocol import endpoints
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.connection_settings import ConnectionSettings
from vllm_omni_client._protocol.endpoints import Call
from vllm_omni_client._protocol.flows import NO_HEALTH_ROUTE, Flow, Step
from vllm_omni_client._protocol.headers import as_secrets
from vllm_omni_client._protocol.image_work import image_work
from vllm_omni_client._protocol.reply_body import IncomingReply, RawReply
from vllm_omni_client._protocol.secret import as_secret
from vllm_omni_client._transport.connections import Connections, closed_error
from vllm_omni_client._transport.deadline import Deadline
from vllm_omni_client._transport.error_translation import translate_errors
from vllm_omni_client._transport.timeouts import attempt_timeouts
from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import OmniError
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList
from vllm_omni_client.saved import SavedImage
from vllm_omni_client.uploads import InputImage, Upload, read_uploads

T = TypeVar("T")

_Make = Callable[
    [ImageGenerationRequest | ImageEditRequest, tuple[Upload, ...]], ImageGenerationReply | SavedImage
]

_UNREACHABLE: Final = "tenacity ends with a result or with the last error"


class OmniClient(BaseClient):
    """A client for code without asyncio; safe to share between threads.

    Proxies and SSL_CERT_FILE from the environment are used as in `AsyncOmniClient`. Resolving the host name
    does not count against the total deadline, because the system's resolver cannot be interrupted.

    Args:
        base_url: The server's address, such as "http://localhost:8000"; a trailing `/v1` is accepted.
        api_key: The server's `--api-key`, if it has one.
        headers: Headers of every request, for a gateway in front of the server. Like the key, their values
            appear in no log, error or repr.
        verify: How the server's certificate is checked: True trusts the public CAs, a path only those in a
            PEM file, an SSLContext whatever you set up (such as client certificates), False anything.
        proxy: A proxy for this server, whatever its address; False for none. None uses the environment's.
        timeout: Total deadline of a generation in seconds, including retries and the waits between them.
            Other calls end after 30 seconds and a health check after 10, unless this is shorter.
        connect_timeout: Longest time to open a connection, in seconds.
        read_timeout: Longest time without a byte from the server, in seconds; None for as long as `timeout`.
            The server sends nothing while it generates or while a request waits in its queue.
        max_retries: Attempts after the first one, 0 to 100. A request that may have used GPU time is sent
            again at most once, with the same seed, and only if `/health` answers 200.
        max_connections: Maximum image requests in progress at once, 1 to 10,000; further ones wait for a slot
            within their deadline. Other calls never wait.
        strict: Whether a field that this server would silently ignore is an error. If False, the field is
            omitted and listed in the reply's `ignored_fields`.
        capabilities: What the server can do, if you know. None asks the server once, before the first
            image, and again when it may have changed.
        transport: A blocking httpx transport to use instead of the network; it is closed with the client.
        http_client: An `httpx.Client` to send with. Its own transport, proxy and certificates apply; it
            stays open when this client is closed.
        clock: Monotonic clock, in seconds.
        sleep: Waits between attempts; None for waits that end when the client is closed.
        jitter: Returns a random number in [0, 1) by which waits are shortened.

    Attributes:
        base_url: The server's address, without a trailing slash, `/v1` or user name.

    Raises:
        InvalidParameter: An argument or the environment's proxy settings cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | SecretStr | None = None,
        headers: Mapping[str, str | SecretStr] | None = None,
        verify: bool | str | PathLike[str] | ssl.SSLContext = True,
        proxy: str | SecretStr | Literal[False] | None = None,
        timeout: float = 300.0,
        connect_timeout: float = 5.0,
        read_timeout: float | None = None,
        max_retries: int = 2,
        max_connections: int = 100,
        strict: bool = True,
        capabilities: Capabilities | None = None,
        transport: httpx.BaseTransport | None = None,
        http_client: httpx.Client | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        # No frame shows a secret from here on: error reporters write the reprs of locals.
        api_key, headers = as_secret(api_key), as_secrets(headers)
        proxy = SecretStr(proxy) if isinstance(proxy, str) else proxy
        connection = ConnectionSettings.from_arguments(
            base_url,
            api_key=api_key,
            headers=headers,
            verify=verify,
            proxy=proxy,
            timeout=timeout,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_retries=max_retries,
            max_connections=max_connections,
            clock=clock,
            jitter=jitter,
        )
        super().__init__(connection, strict=strict, capabilities=capabilities)
        self._connections = Connections(connection, transport=transport, http_client=http_client)
        self._sleep = sleep or self._wait

    def with_budget(self, budget: GenerationBudget) -> "BudgetedOmniClient":
        """Return this client for one image that other layers may also retry; all spend one budget.

        Args:
            budget: What the image may still cost; it also records every attempt.
        """
        return BudgetedOmniClient(partial(self._make, budget=budget))

    @overload
    def generate_image(
        self,
        request: ImageGenerationRequest | str,
        /,
        *,
        into: None = None,
        overwrite: bool = False,
        **values: Unpack[GenerationValues],
    ) -> ImageGenerationReply: ...

    @overload
    def generate_image(
        self,
        request: ImageGenerationRequest | str,
        /,
        *,
        into: str | Path,
        overwrite: bool = False,
        **values: Unpack[GenerationValues],
    ) -> SavedImage: ...

    @with_named_values(GenerationValues)
    def generate_image(
        self,
        request: ImageGenerationRequest | str,
        /,
        *,
        into: str | Path | None = None,
        overwrite: bool = False,
        **values: Unpack[GenerationValues],
    ) -> ImageGenerationReply | SavedImage:
        """Generate images and return them, or save the one image to a file.

        A request that may have used GPU time is sent again at most once, with the same seed. If the request
        has no seed, the client draws one; see the reply's `seed`.

        Args:
            request: What to generate: a request, or a prompt.
            into: A file for the image. Without an `output_format` in the request, ".jpg" asks for a JPEG and
                ".webp" for a WebP. The file is written as the image arrives, and appears complete or not at
                all. If the server can send the image's own bytes and you did not ask for stage metrics,
                they are used instead of base64.
            overwrite: Whether to replace an existing file.
            values: Fields of the request, such as `size=(1024, 1024)` and `steps=4`; they override those of a
                given request. And for this call alone: `timeout`, `max_retries` and `extra_headers`.

        Raises:
            UnsupportedParameter: In strict mode: this server would silently ignore a field.
            InvalidParameter: A value cannot be used, `into` cannot be written, or more than one image is
                requested with it.
            FileExistsError: Someone else created the file during the generation.
            OSError: The file cannot be written, for example because the disk is full.
        """
        client = self._for_call(take_options(values))
        sent = as_request(ImageGenerationRequest, request, values)
        return client._make(sent, into=into, overwrite=overwrite)

    @overload
    def edit_image(
        self,
        request: ImageEditRequest | str,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
        into: None = None,
        overwrite: bool = False,
        **values: Unpack[EditValues],
    ) -> ImageGenerationReply: ...

    @overload
    def edit_image(
        self,
        request: ImageEditRequest | str,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
        into: str | Path,
        overwrite: bool = False,
        **values: Unpack[EditValues],
    ) -> SavedImage: ...

    @with_named_values(EditValues)
    def edit_image(
        self,
        request: ImageEditRequest | str,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
        into: str | Path | None = None,
        overwrite: bool = False,
        **values: Unpack[EditValues],
    ) -> ImageGenerationReply | SavedImage:
        """Edit images and return the results, or save the one result to a file.

        A request that may have used GPU time is sent again at most once, with the same seed. The server
        finishes an edit even if its client disconnects.

        Args:
            request: How to change them: a request, or a prompt.
            image: 1 to 4 input images, each a path, bytes, a file opened in binary mode, or a Pillow image.
                They are uploaded; URLs are refused.
            mask_image: White where the image may change, for models that inpaint.
            reference_image: An image to take content from, for models that support it.
            into: A file for the image, written as it arrives; it appears complete or not at all.
            overwrite: Whether to replace an existing file.
            values: Fields of the request, and for this call alone `timeout`, `max_retries` and
                `extra_headers`.

        Raises:
            UnsupportedParameter: In strict mode: this server would silently ignore a field.
            InvalidParameter: A value cannot be used, an input image cannot be read, `into` cannot be written,
                or more than one image is requested with it.
            FileExistsError: Someone else created the file during the edit.
            OSError: The file cannot be written, for example because the disk is full.
        """
        client = self._for_call(take_options(values))
        sent = as_request(ImageEditRequest, request, values)
        inputs = read_uploads(image, mask_image=mask_image, reference_image=reference_image)
        return client._make(sent, inputs, into, overwrite=overwrite)

    def _make(
        self,
        request: ImageGenerationRequest | ImageEditRequest,
        inputs: tuple[Upload, ...] = (),
        into: str | Path | None = None,
        *,
        overwrite: bool = False,
        budget: GenerationBudget | None = None,
    ) -> ImageGenerationReply | SavedImage:
        """Generate images, or edit `inputs`."""
        with image_work(
            request,
            inputs,
            self._connection,
            strict=self._strict,
            into=into,
            overwrite=overwrite,
            budget=budget,
        ) as work:
            call = work.call(self._capabilities(work.attempts))
            return work.result(self._send(call, work.attempts))

    def capabilities(self) -> Capabilities:
        """Return which fields and routes the server has; cached, and refreshed when it may have changed.

        Raises:
            ServerUnreachable: The server cannot be reached.
        """
        known = self._capabilities(self._connection.attempts(endpoints.openapi()))
        if known.source == "unknown":
            self.health_check()
        return known

    def sleep(self, *, level: Literal[1, 2] = 1, stage_ids: Sequence[int] = (0,)) -> bool:
        """Put the server to sleep to free its GPU memory; True once it has. Needs 0.20 or later.

        Image requests wait until it wakes up.

        Args:
            level: 1 moves the weights to main memory, from where `wake_up` restores them. 2, the server's
                own default, drops them; 0.30.0 must then be restarted.
            stage_ids: Which stages; a server that only generates images has one.
        """
        return self._send(endpoints.sleep(stage_ids, level))

    def wake_up(self, *, stage_ids: Sequence[int] = (0,)) -> bool:
        """Load the server's weights again; False if it was not asleep. Needs 0.20 or later.

        Args:
            stage_ids: Which stages; a server that only generates images has one.

        Raises:
            ServerError: The server dropped its weights (level 2) and cannot load them.
        """
        return self._send(endpoints.wake_up(stage_ids))

    def get_models(self) -> ModelList:
        """Return the names under which the server serves its model; a gateway may list several models."""
        return self._send(endpoints.models())

    def health_check(self) -> bool:
        """Check once whether the server can work: True for 200, False for 503.

        If a gateway has no `/health`, or does not let it be asked, the server can work if it lists a model.

        Raises:
            ServerUnreachable: The server cannot be reached.
        """
        try:
            return self._send(endpoints.health())
        except NO_HEALTH_ROUTE:
            return self._send(endpoints.listed())

    def get_version(self) -> str:
        """Return vLLM's version; its first two numbers match those of vLLM-Omni."""
        version = self._send(endpoints.version())
        self._server.note_version(version)
        return version

    def get_metrics(self) -> ServerMetrics:
        """Return the server's counters; None for each one it does not report."""
        return self._send(endpoints.server_metrics())

    def close(self) -> None:
        """Close all connections for good; calls in progress end with ConnectionLost."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, seconds: float) -> None:
        self._connections.closing.wait(seconds)

    def _capabilities(self, attempts: Attempts) -> Capabilities:
        """Return what the server can do; asking it counts against the call's own deadline."""
        self._connections.open()
        seconds = self._flows.learning_seconds(attempts)
        if known := self._server.current:
            return known
        if not self._connections.learn_lock.acquire(timeout=seconds):
            return Capabilities()
        try:
            return self._server.current or self._drive(self._flows.learn(seconds))
        finally:
            self._connections.learn_lock.release()

    def _send(self, call: Call[T], attempts: Attempts | None = None) -> T:
        """Send a call until it succeeds, must not be retried, or reaches its deadline."""
        attempts = attempts or self._connection.attempts(call)
        self._connections.open()
        try:
            value = self._retry(call, attempts)
        except TimeoutError as error:
            raise attempts.annotate(self._connection.timeout_error(attempts)) from error
        except OmniError as error:
            if self._connections.closing.is_set():
                raise attempts.annotate(closed_error()) from error
            raise
        attempts.record_success()
        return value

    def _retry(self, call: Call[T], attempts: Attempts) -> T:
        retry = retry_if_exception(attempts.decide_retry)
        for attempt in Retrying(retry=retry, wait=attempts.wait_seconds, sleep=self._sleep, reraise=True):
            with attempt:
                return self._drive(self._flows.attempt(call, attempts))
        raise AssertionError(_UNREACHABLE)  # pragma: no cover  # what it says

    def _drive(self, flow: Flow[T]) -> T:
        """Carry out a flow's steps and return its result."""
        try:
            step = next(flow)
            while True:
                try:
                    reply = self._exchange(step)
                except (OmniError, TimeoutError) as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(reply)
        except StopIteration as end:
            return end.value

    def _exchange(self, step: Step) -> RawReply:
        """Send one request and read its reply; image requests first wait for a slot."""
        if not step.call.uses_gpu:
            return self._exchange_now(step, step.seconds)
        slots, began = self._connections.slots, time.monotonic()
        step.trace.waiting = True
        if not slots.acquire(timeout=step.seconds):
            raise TimeoutError
        step.trace.waiting = False
        try:
            return self._exchange_now(step, step.seconds - (time.monotonic() - began))
        finally:
            slots.release()

    def _exchange_now(self, step: Step, seconds: float) -> RawReply:
        http, call, trace = self._connections.open(), step.call, step.trace
        request = http.build_request(
            call.method,
            self._connection.url(call),
            content=call.content,
            headers=self._connection.headers(call),
            timeout=attempt_timeouts(self._connection, seconds),
            extensions={"trace": trace.record},
        )
        with (
            self._connections.cut_on_close(trace),
            translate_errors(self.base_url, trace),
            Deadline(trace, seconds),
        ):
            response = http.send(request, stream=True, follow_redirects=False)
            trace.attach(response.extensions.get("network_stream"))
            try:
                incoming = IncomingReply(call, response.status_code, dict(response.headers))
                # A mock, or an event hook of the caller's own HTTP client, has read it already.
                read = (response.content,) if response.is_stream_consumed else response.iter_raw()
                for chunk in read:
                    if not incoming.add(chunk):
                        break
            finally:
                response.close()
        return incoming.complete()


class BudgetedOmniClient:
    """A client for one image that spends from the image's budget; see `OmniClient.with_budget`.

    Args:
        make: Generates images, or edits images that have been read.
    """

    def __init__(self, make: _Make) -> None:
        self._make = make

    def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        """Generate images, as `OmniClient.generate_image` does."""
        return in_memory(self._make(request, ()))

    def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
    ) -> ImageGenerationReply:
        """Edit images, as `OmniClient.edit_image` does."""
        inputs = read_uploads(image, mask_image=mask_image, reference_image=reference_image)
        return in_memory(self._make(request, inputs))
