"""Check a client's arguments, and build URLs, headers and attempt records from them."""

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
from vllm_omni_client._protocol.secret import redact
from vllm_omni_client._text import printable
from vllm_omni_client.errors import InvalidParameter, OmniError, RequestTimeout, ServerUnreachable
from vllm_omni_client.generation_budget import GenerationBudget

T = TypeVar("T")

_MOST_RETRIES: Final = 100
_MOST_CONNECTIONS: Final = 10_000
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """The server's address, the key and the limits.

    `read_seconds` is infinity for as long as the deadline; `budget` are the retries that the client may still
    make, over all of its calls.
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
        """Check a client's arguments and return them as settings."""
        return cls(
            base_url=base_url_of(base_url),
            key=_check_key(as_secret(api_key)),
            timeout_seconds=_check_timeout(
                "timeout", timeout, hint="; a call without a deadline could hang forever"
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
        """Whether the client uses TLS."""
        return self.base_url.startswith("https:")

    def url(self, call: Call[T]) -> str:
        """Return the full URL of a call."""
        return self.base_url + call.path

    def headers(self) -> dict[str, str]:
        """Return the headers of every request. They ask for no compression: images are compressed already."""
        headers = {
            "accept": "application/json, image/*, application/zip, text/plain;q=0.5",
            "accept-encoding": "identity",
            "user-agent": f"vllm-omni-client/{version('vllm-omni-client')}",
        }
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key.get_secret_value()}"
        return headers

    def attempts(self, call: Call[T], image: GenerationBudget | None = None) -> Attempts:
        """Return an empty attempt record for a call that begins now."""
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
        """Read a reply; if it is an error, hide the key in it in case the server repeats it."""
        try:
            return endpoints.read(call, reply.status, reply.headers, reply.content)
        except OmniError:
            if self.key is None:
                raise
            keyless = reply.without(self.key.get_secret_value())
        return endpoints.read(call, keyless.status, keyless.headers, keyless.content)

    def without_key(self, text: str) -> str:
        """Hide the key in text from the server, which may repeat it."""
        return text if self.key is None else redact(text, self.key.get_secret_value())

    def timeout_error(self, attempts: Attempts) -> OmniError:
        """Return the error of a call that reached its total deadline."""
        within = f"within {attempts.policy.timeout_seconds:g} s"
        if attempts.trace.waiting:
            message = f"no connection to {self.base_url} was free {within}: {self.max_connections} are in use"
            return RequestTimeout(message, gpu_spent="no")
        if attempts.trace.connecting:
            return ServerUnreachable(f"{self.base_url} does not answer {within}", reason="timeout")
        return RequestTimeout(f"no complete reply from {self.base_url} {within}")


def as_secret(api_key: str | SecretStr | None) -> SecretStr | None:
    """Wrap a key so that no repr or traceback shows it; return a non-string unchanged."""
    return SecretStr(api_key) if isinstance(api_key, str) else api_key


def _check_key(api_key: SecretStr | None) -> SecretStr | None:
    """Return the key, or None for an empty one. Raises InvalidParameter if no header can carry it."""
    if api_key is None or (isinstance(api_key, SecretStr) and not api_key.get_secret_value()):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller's value, unchecked
        return None
    if not (isinstance(api_key, SecretStr) and _fits_a_header(api_key)):  # pyright: ignore[reportUnnecessaryIsInstance] - likewise
        raise InvalidParameter("api_key must be printable ASCII without spaces", parameter="api_key")
    return api_key


def _fits_a_header(key: SecretStr) -> bool:
    text = key.get_secret_value()
    return text.isascii() and text.isprintable() and " " not in text


def _check_timeout(name: str, timeout: float, *, hint: str = "") -> float:
    """Return the timeout in seconds. Raises InvalidParameter unless it is finite and more than 0."""
    if not (_is_a(timeout, int, float) and math.isfinite(timeout) and timeout > 0):
        shown = printable(repr(timeout), limit=_SHOWN)
        why = hint if _is_a(timeout, type(None)) else ""
        raise InvalidParameter(f"{name} = {shown}: must be seconds, more than 0{why}", parameter=name)
    return float(timeout)


def _check_number(name: str, number: int, *, least: int, most: int) -> int:
    """Return an integer. Raises InvalidParameter unless it is between `least` and `most`."""
    if not (_is_a(number, int) and least <= number <= most):
        shown = printable(repr(number), limit=_SHOWN)
        raise InvalidParameter(f"{name} = {shown}: must be {least} to {most}", parameter=name)
    return number


def _is_a(value: object, *kinds: type) -> bool:
    """Check a value's type at run time, because not every caller type-checks. True is not a number."""
    return isinstance(value, kinds) and not isinstance(value, bool)
