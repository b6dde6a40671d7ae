"""Check a client's arguments, and build URLs, headers and attempt records from them."""

import functools
import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Final, Literal, Self, TypeVar, cast

from pydantic import SecretStr

from vllm_omni_client._protocol import endpoints
from vllm_omni_client._protocol.address import base_url_of
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.endpoints import Call
from vllm_omni_client._protocol.headers import Headers, check_headers, secret_parts
from vllm_omni_client._protocol.reply_body import RawReply
from vllm_omni_client._protocol.retry import Policy
from vllm_omni_client._protocol.retry_budget import RetryBudget
from vllm_omni_client._protocol.secret import HIDDEN_HEADER, HIDDEN_KEY, redact
from vllm_omni_client._text import printable
from vllm_omni_client.errors import InvalidParameter, OmniError, RequestTimeout, ServerUnreachable
from vllm_omni_client.generation_budget import GenerationBudget

T = TypeVar("T")
Verify = bool | Path | ssl.SSLContext
"""How certificates are checked: a file with the CAs to trust, or True for the public CAs."""

_MOST_RETRIES: Final = 100
_MOST_CONNECTIONS: Final = 10_000
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """The server's address, how to get there, what each request carries, and the limits.

    `proxy` is None for the environment's, False for none. `read_seconds` is infinity for as long as the
    deadline; `budget` are the retries that the client may still make, over all of its calls.
    """

    base_url: str
    key: SecretStr | None
    own_headers: Headers
    verify: Verify
    proxy: SecretStr | Literal[False] | None
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
        api_key: SecretStr | None,
        headers: object,
        verify: bool | str | PathLike[str] | ssl.SSLContext,
        proxy: SecretStr | Literal[False] | None,
        timeout: float,
        connect_timeout: float,
        read_timeout: float | None,
        max_retries: int,
        max_connections: int,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> Self:
        """Check a client's arguments, with values of headers wrapped as secrets, and return them."""
        key, own_headers = _check_key(api_key), check_headers(headers)
        _refuse_two_authorizations(key, own_headers)
        return cls(
            base_url=base_url_of(base_url),
            key=key,
            own_headers=own_headers,
            verify=_check_verify(verify),
            proxy=_check_proxy(proxy),
            timeout_seconds=_check_timeout(
                "timeout", timeout, hint="; a call without a deadline could hang forever"
            ),
            connect_seconds=_check_timeout("connect_timeout", connect_timeout),
            read_seconds=math.inf if read_timeout is None else _check_timeout("read_timeout", read_timeout),
            max_retries=_check_retries(max_retries),
            max_connections=_check_number(
                "max_connections", max_connections, least=1, most=_MOST_CONNECTIONS
            ),
            clock=clock,
            jitter=jitter,
            budget=RetryBudget(max_retries),
        )

    def with_options(
        self,
        *,
        api_key: SecretStr | None = None,
        headers: object = None,
        timeout: float | None = None,
        read_timeout: float | None = None,
        max_retries: int | None = None,
        parameter: str = "headers",
    ) -> Self:
        """Return these settings with other values; None keeps one, and headers are added to those there are.

        Args:
            api_key: The key.
            headers: Wrapped as secrets.
            timeout: Seconds.
            read_timeout: Seconds.
            max_retries: 0 to 100.
            parameter: What the caller calls the headers.
        """
        key = self.key if api_key is None else _check_key(api_key)
        own_headers = {**self.own_headers, **check_headers(headers, parameter=parameter)}
        _refuse_two_authorizations(key, own_headers)
        seconds = self.timeout_seconds if timeout is None else _check_timeout("timeout", timeout)
        read = self.read_seconds if read_timeout is None else _check_timeout("read_timeout", read_timeout)
        retries = self.max_retries if max_retries is None else _check_retries(max_retries)
        self.budget.reserve(retries)
        return replace(
            self,
            key=key,
            own_headers=own_headers,
            timeout_seconds=seconds,
            read_seconds=read,
            max_retries=retries,
        )

    @property
    def is_encrypted(self) -> bool:
        """Whether the client uses TLS."""
        return self.base_url.startswith("https:")

    def url(self, call: Call[T]) -> str:
        """Return the full URL of a call."""
        return self.base_url + call.path

    def headers(self, call: Call[T]) -> dict[str, str]:
        """Return the headers of a request. They ask for no compression: images are compressed already."""
        headers = {
            "accept": "application/json, image/*, application/zip, text/plain;q=0.5",
            "accept-encoding": "identity",
            "user-agent": _user_agent(),
            **call.headers,
        }
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key.get_secret_value()}"
        headers.update((name, value.get_secret_value()) for name, value in self.own_headers.items())
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
        """Read a reply; if it is an error, hide the secrets in it in case the server repeats them."""
        try:
            return endpoints.read(call, reply.status, reply.headers, reply.content)
        except OmniError:
            if self.key is None and not self.own_headers:
                raise
            hidden = reply.redacted(self.redact)
        return endpoints.read(call, hidden.status, hidden.headers, hidden.content)

    def redact(self, text: str) -> str:
        """Hide the key, and the values of the caller's headers, in text from the server."""
        if self.key is not None:
            text = redact(text, self.key.get_secret_value(), HIDDEN_KEY)
        for value in self.own_headers.values():
            for part in secret_parts(value):
                text = redact(text, part, HIDDEN_HEADER)
        return text

    def redact_error(self, error: OmniError) -> OmniError:
        """Hide the secrets in an error's message, which may quote the beginning of a reply."""
        if self.key is not None or self.own_headers:
            error.message = self.redact(error.message)
            error.args = (error.message, *error.args[1:])
        return error

    def timeout_error(self, attempts: Attempts) -> OmniError:
        """Return the error of a call that reached its total deadline."""
        within = f"within {attempts.policy.timeout_seconds:g} s"
        if attempts.trace.waiting:
            message = f"no connection to {self.base_url} was free {within}: {self.max_connections} are in use"
            return RequestTimeout(message, gpu_spent="no")
        if attempts.trace.connecting:
            return ServerUnreachable(f"{self.base_url} does not answer {within}", reason="timeout")
        return RequestTimeout(f"no complete reply from {self.base_url} {within}")


@functools.cache
def _user_agent() -> str:
    return f"vllm-omni-client/{version('vllm-omni-client')}"


def _refuse_two_authorizations(key: SecretStr | None, headers: Headers) -> None:
    if key is not None and "authorization" in headers:
        raise InvalidParameter(
            "api_key and an Authorization header cannot be used together", parameter="headers"
        )


def _check_verify(verify: object) -> Verify:
    if isinstance(verify, str | PathLike):
        return Path(cast("str | PathLike[str]", verify))
    if not isinstance(verify, bool | ssl.SSLContext):
        shown = printable(repr(verify), limit=_SHOWN)
        raise InvalidParameter(
            f"verify = {shown}: must be True, False, a file with CA certificates, or an SSLContext",
            parameter="verify",
        )
    return verify


def _check_proxy(proxy: object) -> SecretStr | Literal[False] | None:
    if proxy is None or proxy is False:
        return proxy
    if isinstance(proxy, SecretStr) and "://" in proxy.get_secret_value():
        return proxy
    raise InvalidParameter(
        'proxy must be an address such as "http://HOST:PORT", or False for a direct connection',
        parameter="proxy",
    )


def _check_retries(max_retries: int) -> int:
    return _check_number("max_retries", max_retries, least=0, most=_MOST_RETRIES)


def _check_key(api_key: object) -> SecretStr | None:
    """Return the key, or None for an empty one. Raises InvalidParameter if no header can carry it."""
    if api_key is None or (isinstance(api_key, SecretStr) and not api_key.get_secret_value()):
        return None
    if not (isinstance(api_key, SecretStr) and _fits_a_header(api_key)):
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
