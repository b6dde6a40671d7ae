"""Define every error that a call to a vLLM-Omni server can raise, and what each one means.

    OmniError
    ├── InvalidParameter          refused by the client; nothing was sent
    │   └── UnsupportedParameter  this server would silently ignore it: .version
    ├── ServerUnreachable         no connection: .reason is refused, dns, timeout, tls, proxy or other
    ├── RequestTimeout            no complete reply within the total deadline, or silence past `read_timeout`
    ├── ConnectionLost            the connection broke after the request was sent; outcome unknown
    ├── BadReply                  the reply is not what the server's contract promises
    └── ServerRefused             an error status, or a redirect: .status
        ├── BadRequest            400, 405, 413, 415, 422
        │   └── ModelChanged      400: the server has a different model: .requested, .served
        ├── Unauthorized          401, 403
        ├── NotFound              404
        ├── ServerBusy            429, 502, 503: .retry_after_seconds
        └── ServerError           any other 5xx
            ├── OutOfGpuMemory    the reply says out of memory, whatever the status
            ├── LoraNotLoaded     the server cannot load the request's LoRA: .lora
            └── EngineDead        the engine process is gone; the server must be restarted

`str(error)` is its message and its next step.
Every error has a `message` (one printable line), an `exchange` (what was tried), `gpu_spent` (whether GPU
time was probably used), `failures` (the attempts before the last one) and a `next_step` (one sentence). All
errors can be pickled and copied. No error ever contains the API key.

Every error also has an `outcome` (what is known about the work) and a `server_state` (what it says about the
server). These two are the only classification of errors: whatever retries a request, here or in a layer
above, decides by them.
"""

import copyreg
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Self

from vllm_omni_client._statuses import FAILURES, NO_CAPACITY, REFUSALS, Meaning
from vllm_omni_client._text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """A failed attempt that was followed by another one.

    Attributes:
        error: The class of its error, such as "ServerBusy".
        reason: The message of its error.
        waited_seconds: The wait before the next attempt.
    """

    error: str
    reason: str
    waited_seconds: float


GpuSpent = Literal["no", "unknown", "yes"]
Outcome = Literal["never_sent", "refused", "unknown", "failed", "final"]
"""What is known about the work behind an error.

never_sent: the request did not leave the client; it can be sent again at no cost.
refused: the server, or a proxy in front of it, refused the request before any work; it can be sent later.
unknown: the request was sent and may have been carried out; sending it again may use GPU time twice.
failed: the server tried and failed; the same request may succeed, at the same cost.
final: the same request must not be sent to this server again: it would fail again, or is still running.
"""
ServerState = Literal[
    "healthy",
    "busy",
    "unavailable",
    "dead",
    "disconnected",
    "timed_out",
    "failing",
    "bad_reply",
    "unsupported",
]
"""What an error says about the server.

healthy: nothing is wrong with it.
busy: it has no capacity now.
unavailable: it cannot be reached or used.
dead: its engine is gone.
disconnected: the connection broke, so it may have died.
timed_out: it did not answer in time.
failing: it failed at the work.
bad_reply: its reply breaks the contract.
unsupported: it cannot do something that another server may be able to do.
"""
UnreachableReason = Literal["refused", "dns", "timeout", "tls", "proxy", "other"]

MESSAGE_LIMIT: Final = 500
"""The length limit of a message, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What the client tried before it raised an error.

    Attributes:
        method: The HTTP method.
        url: The address of the request, without user name and password.
        status: The status of the last reply; None if there was none.
        request_id: The server's own ID of the request, if it sent one.
        attempts: How often the client sent the request or tried to; at least 1.
        generations: How many of these attempts may have used GPU time.
        elapsed_seconds: From the call to the error, including waits between attempts.
    """

    method: str
    url: str
    status: int | None = None
    request_id: str | None = None
    attempts: int = 1
    generations: int = 0
    elapsed_seconds: float = 0.0


class OmniError(Exception):
    """Base class of all errors in this package.

    Attributes:
        message: What happened: one printable line of at most 500 characters.
        exchange: What was tried; None if nothing was sent.
        gpu_spent: Whether GPU time was probably used, over all attempts.
        failures: The attempts before the last one: their errors, reasons and waits.
        outcome: What is known about the work; covers the last attempt only.
        server_state: What the error says about the server.
    """

    default_gpu_spent: ClassVar[GpuSpent] = "unknown"
    default_outcome: ClassVar[Outcome] = "final"
    default_server_state: ClassVar[ServerState] = "healthy"
    default_next_step: ClassVar[str] = "Check the server's log."

    message: str
    exchange: Exchange | None
    gpu_spent: GpuSpent
    failures: tuple[FailedAttempt, ...]
    outcome: Outcome
    server_state: ServerState

    def __init__(
        self, message: str, *, exchange: Exchange | None = None, gpu_spent: GpuSpent | None = None
    ) -> None:
        self.message = printable(message, limit=MESSAGE_LIMIT) or type(self).__name__
        super().__init__(self.message)
        self.exchange = exchange
        self.gpu_spent = gpu_spent or self.default_gpu_spent
        self.failures = ()
        self.outcome = self.default_outcome
        self.server_state = self.default_server_state

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence."""
        return self.default_next_step

    def __str__(self) -> str:
        end = "" if self.message.endswith((".", "?", "!")) else "."
        return f"{self.message}{end} {self.next_step}"

    def with_attempts(
        self, exchange: Exchange | None, *, gpu_spent: GpuSpent, failures: tuple[FailedAttempt, ...] = ()
    ) -> Self:
        """Record what was tried and what it cost; return the same error."""
        self.exchange = exchange
        self.gpu_spent = gpu_spent
        self.failures = failures
        return self

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows for this error."""
        from vllm_omni_client.tracebacks import short_traceback  # noqa: PLC0415 - for notebooks alone

        return short_traceback(self, next_step=self.next_step)

    def __reduce__(self) -> tuple[object, ...]:
        return (copyreg.__newobj__, (type(self), *self.args), self.__dict__)  # type: ignore[attr-defined]  # missing from typeshed


class InvalidParameter(OmniError):
    """The client refused a value; nothing was sent.

    Attributes:
        parameter: The name of the refused parameter, such as "seed"; None if no single one is at fault.
    """

    default_gpu_spent: ClassVar[GpuSpent] = "no"
    default_next_step = "Correct the value that the message names, then call again."

    def __init__(
        self, message: str, *, parameter: str | None = None, exchange: Exchange | None = None
    ) -> None:
        super().__init__(message, exchange=exchange)
        self.parameter = parameter


class UnsupportedParameter(InvalidParameter):
    """This server would silently ignore the parameter and generate something else; nothing was sent.

    Attributes:
        version: The version that the server reports.
    """

    default_server_state: ClassVar[ServerState] = "unsupported"
    default_next_step = (
        "Omit the parameter, update the server, or create the client with strict=False to drop it."
    )

    def __init__(
        self,
        message: str,
        *,
        parameter: str | None = None,
        version: str | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        super().__init__(message, parameter=parameter, exchange=exchange)
        self.version = version


class ServerUnreachable(OmniError):
    """The client could not connect to the server; nothing was sent.

    Attributes:
        reason: "refused" (nothing listens on that port), "dns" (unknown host name), "timeout" (no answer to
            the connection attempt), "tls" (no secure connection), "proxy" (the proxy of the environment
            fails), or "other".
    """

    default_gpu_spent: ClassVar[GpuSpent] = "no"
    default_outcome: ClassVar[Outcome] = "never_sent"
    default_server_state: ClassVar[ServerState] = "unavailable"
    _next_steps: ClassVar[Mapping[UnreachableReason, str]] = {
        "refused": "Start the server (`vllm serve MODEL --omni --port PORT`), or correct base_url.",
        "dns": "Correct the host name in base_url.",
        "timeout": "Check whether the host is up and the firewall allows the port.",
        "tls": "Use http:// for a server without TLS, or trust its CA: pass the PEM file as `verify`, or set "
        "SSL_CERT_FILE.",
        "proxy": "Start the proxy or correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY; NO_PROXY exempts hosts.",
        "other": "Check base_url and the proxy settings in the environment.",
    }

    def __init__(
        self, message: str, *, reason: UnreachableReason = "other", exchange: Exchange | None = None
    ) -> None:
        super().__init__(message, exchange=exchange)
        self.reason: UnreachableReason = reason
        if reason == "tls":  # a retry does not fix a certificate
            self.outcome: Outcome = "final"

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence."""
        return self._next_steps[self.reason]


class RequestTimeout(OmniError):
    """No complete reply came within the deadline, or nothing for `read_timeout`; the work may still run."""

    default_outcome: ClassVar[Outcome] = "unknown"
    default_server_state: ClassVar[ServerState] = "timed_out"
    default_next_step = (
        "Raise `timeout`, and `read_timeout` if you set one, or use fewer steps or a smaller size; "
        "check whether the server is busy."
    )

    def __init__(
        self, message: str, *, exchange: Exchange | None = None, gpu_spent: GpuSpent | None = None
    ) -> None:
        super().__init__(message, exchange=exchange, gpu_spent=gpu_spent)
        if gpu_spent == "no":
            self.outcome: Outcome = "never_sent"

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence; a GET has no steps or size to reduce."""
        if self.exchange is not None and self.exchange.method == "GET":
            return (
                "Check whether the server is hung (see its log, or restart it) and whether a proxy sits "
                "in front of it."
            )
        return self.default_next_step


class ConnectionLost(OmniError):
    """The connection broke after the request was sent; the work may or may not have been done.

    Attributes:
        stale: Whether an idle connection broke as it was reused: the server had probably closed it before it
            could read the request.
    """

    default_outcome: ClassVar[Outcome] = "unknown"
    default_server_state: ClassVar[ServerState] = "disconnected"
    default_next_step = (
        "Check whether the server is still running (health_check), then call again with the same seed."
    )

    def __init__(
        self,
        message: str,
        *,
        exchange: Exchange | None = None,
        gpu_spent: GpuSpent | None = None,
        stale: bool = False,
    ) -> None:
        super().__init__(message, exchange=exchange, gpu_spent=gpu_spent)
        self.stale = stale
        if gpu_spent == "no":
            self.outcome: Outcome = "never_sent"


class BadReply(OmniError):
    """The server's reply is not what its contract promises."""

    default_outcome: ClassVar[Outcome] = "unknown"
    default_server_state: ClassVar[ServerState] = "bad_reply"
    default_next_step = (
        "Check that base_url leads to a vLLM-Omni server, not to a proxy's page, and see the server's log."
    )


class ServerRefused(OmniError):
    """The server answered with an error status or a redirect; redirects are never followed.

    Attributes:
        status: The HTTP status.
        by_proxy: Whether a proxy wrote the reply: it has none of the server's own formats.
    """

    default_gpu_spent: ClassVar[GpuSpent] = "no"
    default_next_step = "Read the message: it comes from the server."
    _meanings: ClassVar[Mapping[int, Meaning]] = REFUSALS

    def __init__(
        self,
        message: str,
        *,
        status: int,
        exchange: Exchange | None = None,
        gpu_spent: GpuSpent | None = None,
        by_proxy: bool = False,
    ) -> None:
        meaning = self._meanings.get(status)
        super().__init__(
            message, exchange=exchange, gpu_spent=gpu_spent or (meaning.gpu_spent if meaning else None)
        )
        self.status = status
        self.by_proxy = by_proxy
        if meaning is not None:
            self.outcome: Outcome = meaning.outcome
            self.server_state: ServerState = meaning.server_state

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one or two sentences."""
        meaning = self._meanings.get(self.status)
        return (meaning and meaning.next_step) or self.default_next_step


class BadRequest(ServerRefused):
    """The server considers the request invalid: 400, 405, 413, 415 or 422."""

    default_next_step = "Correct the parameter that the server names, then call again."

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence."""
        if self.by_proxy and self.status == 413:  # noqa: PLR2004  # content too large
            return (
                "A proxy in front of the server refused the upload; raise its upload limit "
                "(nginx: client_max_body_size), or send smaller images."
            )
        return super().next_step


class ModelChanged(BadRequest):
    """The server does not have the model that the request named; nothing was generated.

    Attributes:
        requested: The name in the request.
        served: The names that the server lists now under `/v1/models`; requests may use the first one.
    """

    default_next_step = "Omit `model`, or name the model that is served now, and check its settings."

    def __init__(
        self,
        message: str,
        *,
        status: int,
        requested: str = "",
        served: tuple[str, ...] = (),
        exchange: Exchange | None = None,
    ) -> None:
        super().__init__(message, status=status, exchange=exchange)
        self.requested = requested
        self.served = served


class Unauthorized(ServerRefused):
    """The API key is missing or wrong: 401 or 403."""

    default_server_state: ClassVar[ServerState] = "unavailable"
    default_next_step = "Pass the key that the server was started with as `api_key`."

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence."""
        if self.by_proxy:
            return (
                "A proxy or firewall in front of the server refused the request; pass the header that it "
                "asks for in `headers`, allow these requests there, or use an address that leads directly to "
                "the server."
            )
        return super().next_step


class NotFound(ServerRefused):
    """The server does not have this route: 404."""

    default_server_state: ClassVar[ServerState] = "unavailable"
    default_next_step = "Check that base_url leads to a vLLM-Omni server that serves an image model."


class ServerBusy(ServerRefused):
    """The server, or a proxy in front of it, cannot take the request now: 429, 502 or 503.

    After a 502, nobody knows whether the server behind the proxy did any work: the connection may have
    broken in the middle of it.

    Attributes:
        retry_after_seconds: How long the server asked the client to wait; None if it did not say.
    """

    default_outcome: ClassVar[Outcome] = "refused"
    default_server_state: ClassVar[ServerState] = "busy"
    default_next_step = "Wait, then call again."
    _meanings: ClassVar[Mapping[int, Meaning]] = NO_CAPACITY

    def __init__(
        self,
        message: str,
        *,
        status: int,
        retry_after_seconds: float | None = None,
        exchange: Exchange | None = None,
        by_proxy: bool = False,
    ) -> None:
        super().__init__(message, status=status, exchange=exchange, by_proxy=by_proxy)
        self.retry_after_seconds = retry_after_seconds

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence."""
        if self.retry_after_seconds is None:
            return super().next_step
        return f"Wait{_duration(self.retry_after_seconds)}, then call again."


class ServerError(ServerRefused):
    """The server failed at the work, or a proxy gave up on it: any 5xx without its own class."""

    default_gpu_spent: ClassVar[GpuSpent] = "yes"
    default_outcome: ClassVar[Outcome] = "failed"
    default_server_state: ClassVar[ServerState] = "failing"
    _meanings: ClassVar[Mapping[int, Meaning]] = FAILURES
    default_next_step = (
        "Read the message: a request can cause a 500 (size, empty prompt); otherwise check the server's log."
    )


class OutOfGpuMemory(ServerError):
    """The image does not fit into the memory of the GPU or the host; the request would fail again."""

    default_outcome: ClassVar[Outcome] = "final"
    default_server_state: ClassVar[ServerState] = "healthy"
    _meanings: ClassVar[Mapping[int, Meaning]] = {}
    default_next_step = "Use a smaller size or fewer images at once (n)."


class LoraNotLoaded(ServerError):
    """The server could not load the LoRA that the request named; nothing was generated.

    Attributes:
        lora: The LoRA's path on the server, or its Hugging Face id, as the request named it.
    """

    default_gpu_spent: ClassVar[GpuSpent] = "no"
    default_outcome: ClassVar[Outcome] = "final"
    default_server_state: ClassVar[ServerState] = "healthy"
    _meanings: ClassVar[Mapping[int, Meaning]] = {}

    lora: str

    def __init__(
        self, message: str, *, status: int, lora: str = "", exchange: Exchange | None = None
    ) -> None:
        super().__init__(message, status=status, exchange=exchange)
        self.lora = printable(lora, limit=_SHOWN_LORA)

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence."""
        return (
            f"Check the LoRA {self.lora or 'of the request'}: it must be a folder on the server's own disk "
            "that holds adapter_config.json, or a Hugging Face id that the server can download, and made for "
            "this model."
        )


class EngineDead(ServerError):
    """The engine process is gone; the server still answers, but can no longer generate."""

    default_server_state: ClassVar[ServerState] = "dead"
    _meanings: ClassVar[Mapping[int, Meaning]] = {}
    default_next_step = "Restart the vLLM-Omni server and wait until /health answers 200."


_SHOWN_LORA: Final = 200
_LONGEST_IN_SECONDS: Final = 120
_MINUTE: Final = 60
_HOUR: Final = 3600


def _duration(seconds: float) -> str:
    """Format a wait, such as " 7 seconds"; empty if it is next to nothing."""
    if seconds < 1:
        return ""
    if seconds <= _LONGEST_IN_SECONDS:
        return " 1 second" if seconds == 1 else f" {seconds:g} seconds"
    if seconds <= _LONGEST_IN_SECONDS * _MINUTE:
        return f" {seconds / _MINUTE:.0f} minutes"
    return f" {seconds / _HOUR:,.0f} hours"
