"""Errors: what can go wrong between a caller and a vLLM-Omni server.

    OmniError
    ├── InvalidParameter          refused here; nothing was sent
    │   └── UnsupportedParameter  this server would ignore it in silence: .version
    ├── ServerUnreachable         no connection: .reason is refused, dns, timeout, tls or other
    ├── RequestTimeout            no whole answer within the total deadline, or silence beyond `read_timeout`
    ├── ConnectionLost            the connection broke after the request was sent; the outcome is unknown
    ├── BadReply                  the server answered, but not with what it promises
    └── ServerRefused             an error status, or a redirect: .status
        ├── BadRequest            400, 405, 413, 415, 422
        │   └── ModelChanged      400: another model than the one that was named: .requested, .served
        ├── Unauthorized          401, 403
        ├── NotFound              404
        ├── ServerBusy            429, 502, 503: .retry_after_seconds
        └── ServerError           any other 5xx
            ├── OutOfGpuMemory    the text says out of memory, whatever the status
            └── EngineDead        the process that draws is gone; the server has to be restarted

Every error has a `message` (one printable line), an `exchange` (what was tried), `gpu_spent`
(whether GPU time was probably paid for), `failures` (the attempts before the last one) and a `next_step`
(one sentence). All of them can be pickled and copied. None of them ever holds the API key.

Every error also has an `outcome` (what is known of the work) and a `server_state` (what it tells of the
server). These two are the only classification of errors: whatever repeats a request, here or in a layer
above, decides by them.
"""

import copyreg
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, NamedTuple, Self

from vllm_omni_client._text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """An attempt that failed and was followed by another one.

    Attributes:
        error: The class of its error, such as "ServerBusy".
        reason: The message of its error.
        waited_seconds: How long was waited after it.
    """

    error: str
    reason: str
    waited_seconds: float


GpuSpent = Literal["no", "unknown", "yes"]
Outcome = Literal["never_sent", "refused", "unknown", "failed", "final"]
"""What is known of the work behind an error.

never_sent: the request did not leave; it may be sent again at no cost.
refused: the server, or a proxy before it, refused the request before any work; it may be sent later.
unknown: the request was sent, and may have been carried out; sending it again may pay for it twice.
failed: the server tried and failed; the same request may succeed, at the same cost.
final: the same request must not be sent to this server again: it would fail again, or still runs.
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
"""What an error tells of the server.

well: nothing is wrong with it; busy: it has no room now; away: it cannot be reached or used; dead: its
engine is gone; lost: the connection broke, so it may have died; silent: it did not answer in time;
failing: it failed at the work; wrong: it answered something that it should not; lacking: it cannot do
what another server may.
"""
UnreachableReason = Literal["refused", "dns", "timeout", "tls", "other"]

MESSAGE_LIMIT: Final = 500
"""The most characters that a message has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What was tried before an error left the client.

    Attributes:
        method: The HTTP method.
        url: The address that was asked, without user name and password.
        status: The status of the last reply; None when there was none.
        request_id: The server's own name for the request, when it told one.
        attempts: How often the request was sent, or tried to be sent; at least 1.
        generations: How many of these attempts may have cost GPU time.
        elapsed_seconds: From the call to the error, waits between attempts included.
    """

    method: str
    url: str
    status: int | None = None
    request_id: str | None = None
    attempts: int = 1
    generations: int = 0
    elapsed_seconds: float = 0.0


class OmniError(Exception):
    """The root of all errors of this package.

    Attributes:
        message: What happened: one printable line of at most 500 characters.
        exchange: What was tried; None when nothing was sent.
        gpu_spent: Whether GPU time was probably paid for, over all attempts.
        failures: The attempts before the last one: their errors, reasons and waits.
        outcome: What is known of the work; of the last attempt alone.
        server_state: What the error tells of the server.
    """

    default_gpu_spent: ClassVar[GpuSpent] = "unknown"
    default_outcome: ClassVar[Outcome] = "final"
    default_server_state: ClassVar[ServerState] = "healthy"
    default_next_step: ClassVar[str] = "Look at the server's log."

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

    def after(
        self, exchange: Exchange, *, gpu_spent: GpuSpent, failures: tuple[FailedAttempt, ...] = ()
    ) -> Self:
        """Write down what was tried, and what it cost; returns the same error."""
        self.exchange = exchange
        self.gpu_spent = gpu_spent
        self.failures = failures
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (copyreg.__newobj__, (type(self), *self.args), self.__dict__)  # type: ignore[attr-defined]  # typeshed leaves it out


class InvalidParameter(OmniError):
    """A value was refused here; nothing was sent.

    Attributes:
        parameter: The name of the refused parameter, such as "seed"; None when it is not about one alone.
    """

    default_gpu_spent: ClassVar[GpuSpent] = "no"
    default_next_step = "Correct the value that the message names, then call again."

    parameter: str | None

    def __init__(
        self, message: str, *, parameter: str | None = None, exchange: Exchange | None = None
    ) -> None:
        super().__init__(message, exchange=exchange)
        self.parameter = parameter


class UnsupportedParameter(InvalidParameter):
    """This server would ignore the parameter in silence, and draw something else; nothing was sent.

    Attributes:
        version: The server's version, as it tells it.
    """

    default_server_state = "unsupported"
    default_next_step = (
        "Leave the parameter out, update the server, or make the client with strict=False to go without it."
    )

    version: str | None

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
    """No connection to the server could be made; nothing was sent.

    Attributes:
        reason: "refused" (no one listens there), "dns" (the host's name is not known), "timeout" (no
            answer to the connection), "tls" (no secure connection), or "other".
    """

    default_gpu_spent: ClassVar[GpuSpent] = "no"
    default_outcome = "never_sent"
    default_server_state = "unavailable"
    _next_steps: ClassVar[Mapping[UnreachableReason, str]] = {
        "refused": "Start the server (`vllm serve MODEL --omni --port PORT`), or correct base_url.",
        "dns": "Correct the host name in base_url.",
        "timeout": "See whether the host is up and a firewall lets the port through.",
        "tls": "Use http:// for a server without TLS, or make its certificate known (SSL_CERT_FILE).",
        "other": "See whether base_url and the proxy settings of the environment are right.",
    }

    reason: UnreachableReason

    def __init__(
        self, message: str, *, reason: UnreachableReason = "other", exchange: Exchange | None = None
    ) -> None:
        super().__init__(message, exchange=exchange)
        self.reason = reason
        if reason == "tls":  # a certificate does not become right by asking again
            self.outcome = "final"

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence."""
        return self._next_steps[self.reason]


class RequestTimeout(OmniError):
    """No whole answer came within the total deadline, or nothing for `read_timeout`; work may still go on."""

    default_outcome = "unknown"
    default_server_state = "timed_out"
    default_next_step = (
        "Raise `timeout`, and `read_timeout` if you set one, or ask for fewer steps or a smaller size; "
        "see if the server is busy."
    )

    def __init__(
        self, message: str, *, exchange: Exchange | None = None, gpu_spent: GpuSpent | None = None
    ) -> None:
        super().__init__(message, exchange=exchange, gpu_spent=gpu_spent)
        if gpu_spent == "no":
            self.outcome = "never_sent"

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence; a mere question has no steps and no size."""
        if self.exchange is not None and self.exchange.method == "GET":
            return "See whether the server hangs (its log, or a restart), and what stands before it."
        return self.default_next_step


class ConnectionLost(OmniError):
    """The connection broke after the request was sent; whether the work was done is not known.

    Attributes:
        stale: Whether it was an idle connection that broke as it was used: the server had probably closed
            it before it could read the request.
    """

    default_outcome = "unknown"
    default_server_state = "disconnected"
    default_next_step = (
        "See whether the server is still running (health_check), then call again with the same seed."
    )

    stale: bool

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
            self.outcome = "never_sent"


class BadReply(OmniError):
    """The server answered with something that its contract does not promise."""

    default_outcome = "unknown"
    default_server_state = "bad_reply"
    default_next_step = "See whether base_url leads to a vLLM-Omni server, and not to a proxy's page."


class _Meaning(NamedTuple):
    """What a status means where it differs from its class."""

    outcome: Outcome
    server_state: ServerState
    gpu_spent: GpuSpent = "no"
    next_step: str = ""


_GATEWAY_GAVE_UP: Final = _Meaning(
    "final",
    "timed_out",
    "unknown",
    "A proxy gave up before the server; raise its timeout (nginx: proxy_read_timeout), or ask for fewer "
    "steps or a smaller size. The request may still be running on the server.",
)
_GATEWAY_CUT_OFF: Final = _Meaning(
    "unknown",
    "unavailable",
    "unknown",
    "A proxy got no answer from the server behind it; see whether that server is running, then call again.",
)
_NOT_PASSED_ON: Final = _Meaning(
    "refused",
    "unavailable",
    "no",
    "A proxy cannot reach the server behind it; see whether that server is running, then call again.",
)


class ServerRefused(OmniError):
    """The server answered with an error status, or with a redirect, which is never followed.

    Attributes:
        status: The HTTP status.
        by_proxy: Whether the reply has none of the server's own shapes: a proxy before it wrote it.
    """

    default_gpu_spent: ClassVar[GpuSpent] = "no"
    default_next_step = "Read the message: it is the server's own."
    _meanings: ClassVar[Mapping[int, _Meaning]] = {408: _Meaning("refused", "busy")}

    status: int
    by_proxy: bool

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
            self.outcome, self.server_state = meaning.outcome, meaning.server_state

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence or two."""
        meaning = self._meanings.get(self.status)
        return (meaning and meaning.next_step) or self.default_next_step


class BadRequest(ServerRefused):
    """The server takes the request for wrong: 400, 405, 413, 415 or 422."""

    default_next_step = "Correct the parameter that the server names, then call again."

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence."""
        if self.by_proxy and self.status == 413:  # noqa: PLR2004  # content too large
            return (
                "A proxy before the server refused the upload; raise its upload limit "
                "(nginx: client_max_body_size), or send smaller images."
            )
        return super().next_step


class ModelChanged(BadRequest):
    """The server has another model than the one that the request named; nothing was drawn.

    Attributes:
        requested: The name in the request.
        served: The names that the server has now, by `/v1/models`; requests may name the first one.
    """

    default_next_step = "Leave `model` out, or name the model that is served now, and look at its settings."

    requested: str
    served: tuple[str, ...]

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
    """The API key is missing or not the right one: 401 or 403."""

    default_server_state = "unavailable"
    default_next_step = "Pass the key that the server was started with as `api_key`."

    @property
    def next_step(self) -> str:
        """What the caller can do about it, in one sentence."""
        if self.by_proxy:
            return (
                "A proxy or firewall before the server refused the request; have it let these requests "
                "through, or use an address that leads to the server itself."
            )
        return super().next_step


class NotFound(ServerRefused):
    """The server does not have this route: 404."""

    default_server_state = "unavailable"
    default_next_step = "See whether base_url leads to a vLLM-Omni server that serves an image model."


class ServerBusy(ServerRefused):
    """The server, or a proxy before it, does not take the request now: 429, 502 or 503.

    After a 502 nobody knows whether the server behind the proxy has worked: it may have broken the
    connection in the middle of it.

    Attributes:
        retry_after_seconds: How long the server asked to be left alone; None when it did not say.
    """

    default_outcome = "refused"
    default_server_state = "busy"
    default_next_step = "Wait, then call again."
    _meanings: ClassVar[Mapping[int, _Meaning]] = {502: _GATEWAY_CUT_OFF}

    retry_after_seconds: float | None

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
        return f"Wait {self.retry_after_seconds:g} seconds, then call again."


class ServerError(ServerRefused):
    """The server failed at the work, or a proxy gave up on it: any 5xx that has no class of its own."""

    default_gpu_spent: ClassVar[GpuSpent] = "yes"
    default_outcome = "failed"
    default_server_state = "failing"
    # 520 to 530 are Cloudflare's, 529 others' for an overload, 598 and 599 those of some proxies.
    _meanings: ClassVar[Mapping[int, _Meaning]] = {
        501: _Meaning("final", "unsupported"),
        **dict.fromkeys((504, 522, 524, 598, 599), _GATEWAY_GAVE_UP),
        520: _GATEWAY_CUT_OFF,
        **dict.fromkeys((521, 523, 530), _NOT_PASSED_ON),
        **dict.fromkeys((525, 526), _NOT_PASSED_ON._replace(outcome="final")),
        529: _Meaning("refused", "busy", "no", "Wait, then call again."),
    }
    default_next_step = (
        "Read the message: a 500 can be the request's fault (size, empty prompt); else see the server's log."
    )


class OutOfGpuMemory(ServerError):
    """The picture does not fit into the memory of the GPU, or of the host; the request would fail again."""

    default_outcome = "final"
    default_server_state = "healthy"
    _meanings: ClassVar[Mapping[int, _Meaning]] = {}
    default_next_step = "Ask for a smaller size or fewer pictures at once (n)."


class EngineDead(ServerError):
    """The process that draws is gone; the server answers, but cannot work any more."""

    default_server_state = "dead"
    _meanings: ClassVar[Mapping[int, _Meaning]] = {}
    default_next_step = "Restart the vLLM-Omni server, and wait until /health answers 200."
