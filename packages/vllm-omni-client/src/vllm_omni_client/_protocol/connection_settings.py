"""Connection: what both clients know of their server, checked once when they are made."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Self, TypeVar

from pydantic import SecretStr

from vllm_omni_client._protocol import endpoints
from vllm_omni_client._protocol.address import base_url_of
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.endpoints import Call
from vllm_omni_client._protocol.reply_body import RawReply
from vllm_omni_client._protocol.retry import Policy
from vllm_omni_client._protocol.retry_budget import RetryBudget
from vllm_omni_client._protocol.secret import hidden
from vllm_omni_client._text import printable
from vllm_omni_client.errors import InvalidParameter, OmniError, RequestTimeout, ServerUnreachable
from vllm_omni_client.generation_budget import GenerationBudget

T = TypeVar("T")

_MOST_RETRIES: Final = 100
_MOST_CONNECTIONS: Final = 10_000
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """Where the server is, the key, and what is allowed.

    Attributes:
        base_url: The server's address, without a slash, a `/v1` or a user name.
        key: What `/v1` routes ask for; None when the server was started without one.
        timeout_seconds: The total deadline of a call.
        connect_seconds: How long making a connection may take.
        read_seconds: How long the server may say nothing; infinity for as long as the deadline.
        max_retries: Attempts after the first one.
        max_connections: How many pictures may be under way at once.
        clock: Seconds on a clock that never goes back.
        jitter: Draws a number evenly from [0, 1).
        budget: The retries that the client may still make, over all of its calls.
    """

    base_url: str
    key: SecretStr | None
    timeout_seconds: float
    connect_seconds: float
    read_seconds: float
    max_retries: int
    max_connections: int
    clock: Callable[[], float]
    jitter: Callable[[], float]
    budget: RetryBudget

    @classmethod
    def from_arguments(
        cls,
        base_url: str,
        *,
        api_key: str | SecretStr | None,
        timeout: float,
        connect_timeout: float,
        read_timeout: float | None,
        max_retries: int,
        max_connections: int,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> Self:
        """Return the connection that a client's arguments mean.

        Raises:
            InvalidParameter: One of them cannot be used.
        """
        return cls(
            base_url=base_url_of(base_url),
            key=_check_key(as_secret(api_key)),
            timeout_seconds=_check_timeout(
                "timeout", timeout, hint="; a call without a deadline could hang for ever"
            ),
            connect_seconds=_check_timeout("connect_timeout", connect_timeout),
            read_seconds=math.inf if read_timeout is None else _check_timeout("read_timeout", read_timeout),
            max_retries=_check_number("max_retries", max_retries, least=0, most=_MOST_RETRIES),
            max_connections=_check_number(
                "max_connections", max_connections, least=1, most=_MOST_CONNECTIONS
            ),
            clock=clock,
            jitter=jitter,
            budget=RetryBudget(max_retries),
        )

    @property
    def is_encrypted(self) -> bool:
        """Whether the server is spoken to over TLS."""
        return self.base_url.startswith("https:")

    def url(self, call: Call[T]) -> str:
        """Return the whole address of a call."""
        return self.base_url + call.path

    def headers(self) -> dict[str, str]:
        """Return what every request carries. No compression is asked for: pictures are compressed."""
        headers = {
            "accept": "application/json, image/*, application/zip, text/plain;q=0.5",
            "accept-encoding": "identity",
            "user-agent": f"vllm-omni-client/{version('vllm-omni-client')}",
        }
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key.get_secret_value()}"
        return headers

    def attempts(self, call: Call[T], image: GenerationBudget | None = None) -> Attempts:
        """Return the empty record of a call that begins now.

        Args:
            call: What is asked.
            image: The budget of the image, for a call that is not the first one for it.
        """
        policy = Policy(
            max_retries=self.max_retries if call.retried else 0,
            timeout_seconds=min(self.timeout_seconds, call.at_most_seconds),
            repeatable=call.repeatable,
        )
        return Attempts(
            method=call.method,
            url=self.url(call),
            policy=policy,
            budget=self.budget,
            clock=self.clock,
            jitter=self.jitter,
            server=self.base_url,
            image=image,
        )

    def read(self, call: Call[T], reply: RawReply) -> T:
        """Read a reply; where it means an error and repeats the key, read it with the key hidden."""
        try:
            return endpoints.read(call, reply.status, reply.headers, reply.content)
        except OmniError:
            if self.key is None:
                raise
            keyless = reply.without(self.key.get_secret_value())
        return endpoints.read(call, keyless.status, keyless.headers, keyless.content)

    def without_key(self, text: str) -> str:
        """Return a foreign text with the key hidden, should the server repeat it."""
        return text if self.key is None else hidden(text, self.key.get_secret_value())

    def timeout_error(self, attempts: Attempts) -> OmniError:
        """Return the error of a call that reached its total deadline."""
        within = f"within {attempts.policy.timeout_seconds:g} s"
        if attempts.trace.waiting:
            message = f"no connection to {self.base_url} was free {within}: {self.max_connections} are in use"
            return RequestTimeout(message, gpu_spent="no")
        if attempts.trace.connecting:
            return ServerUnreachable(f"{self.base_url} does not answer {within}", reason="timeout")
        return RequestTimeout(f"no whole answer from {self.base_url} {within}")


def as_secret(api_key: str | SecretStr | None) -> SecretStr | None:
    """Return a key that no repr shows, so that no frame of a traceback does; what is not text as it is."""
    return SecretStr(api_key) if isinstance(api_key, str) else api_key


def _check_key(api_key: SecretStr | None) -> SecretStr | None:
    """Return the key; an empty one is none. Raises InvalidParameter when no header can carry it."""
    if api_key is None or (isinstance(api_key, SecretStr) and not api_key.get_secret_value()):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller's value, unchecked
        return None
    if not (isinstance(api_key, SecretStr) and _fits_a_header(api_key)):  # pyright: ignore[reportUnnecessaryIsInstance] - likewise
        raise InvalidParameter("api_key must be printable ASCII without spaces", parameter="api_key")
    return api_key


def _fits_a_header(key: SecretStr) -> bool:
    text = key.get_secret_value()
    return text.isascii() and text.isprintable() and " " not in text


def _check_timeout(name: str, timeout: float, *, hint: str = "") -> float:
    """Return seconds. Raises InvalidParameter unless they are finite and more than 0."""
    if not (_is_a(timeout, int, float) and math.isfinite(timeout) and timeout > 0):
        shown = printable(repr(timeout), limit=_SHOWN)
        why = hint if _is_a(timeout, type(None)) else ""
        raise InvalidParameter(f"{name} = {shown}: must be seconds, more than 0{why}", parameter=name)
    return float(timeout)


def _check_number(name: str, number: int, *, least: int, most: int) -> int:
    """Return a whole number. Raises InvalidParameter unless it is from `least` to `most`."""
    if not (_is_a(number, int) and least <= number <= most):
        shown = printable(repr(number), limit=_SHOWN)
        raise InvalidParameter(f"{name} = {shown}: must be {least} to {most}", parameter=name)
    return number


def _is_a(value: object, *kinds: type) -> bool:
    """Say whether a value is what its type promises: not every caller checks types. True is not a number."""
    return isinstance(value, kinds) and not isinstance(value, bool)
