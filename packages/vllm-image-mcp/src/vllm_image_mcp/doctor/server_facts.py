"""Ask a server once for everything that the checks need to know about it."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.errors import ConnectionLost, OmniError, ServerUnreachable
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ModelList

T = TypeVar("T")

USUAL_PORTS: Final = (8000, 8091, 6655)
"""The ports that vLLM, the examples of vLLM-Omni and this program use by default."""

_ANSWERS_ON_PLAIN_PORT: Final = 400
"""What a web server says to plain HTTP on a port for TLS."""


class ServerClient(Protocol):
    """The part of the client that is asked; its methods raise ``OmniError``."""

    base_url: str

    async def health_check(self) -> bool:
        """Return whether the engine is alive."""
        ...

    async def get_models(self) -> ModelList:
        """Return the served models."""
        ...

    async def capabilities(self) -> Capabilities:
        """Return which fields and routes the server has."""
        ...

    async def get_metrics(self) -> ServerMetrics:
        """Return the server's counters."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class Connect(Protocol):
    """A function that returns a client for a base URL."""

    def __call__(self, url: str, /, *, with_secrets: bool) -> ServerClient:
        """Return a client that soon gives up; without secrets for an address that was only guessed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server answered to each question, or the error instead of the answer.

    Attributes:
        url: The server's base URL.
        health: Whether its engine is alive.
        models: The models that it serves.
        capabilities: Its fields and routes.
        metrics: Its counters.
        elsewhere: The URL at which a server does answer, if none does here: another usual port of the same
            host, or the same port with or without TLS. None if there is none.
    """

    url: str
    health: bool | OmniError
    models: ModelList | OmniError
    capabilities: Capabilities | OmniError
    metrics: ServerMetrics | OmniError
    elsewhere: str | None = None


async def ask_server(url: str, connect: Connect) -> ServerFacts:
    """Ask a server for its health, models, capabilities and metrics, all at the same time."""
    client = connect(url, with_secrets=True)
    try:
        health = await _answer(client.health_check())
        if isinstance(health, OmniError) and health.exchange and health.exchange.status is None:
            return ServerFacts(
                url=client.base_url,
                health=health,
                models=health,
                capabilities=health,
                metrics=health,
                elsewhere=await _find_elsewhere(url, health, connect),
            )
        models, capabilities, metrics = await asyncio.gather(
            _answer(client.get_models()), _answer(client.capabilities()), _answer(client.get_metrics())
        )
    finally:
        await client.aclose()
    elsewhere = await _find_elsewhere(url, health, connect) if isinstance(health, OmniError) else None
    return ServerFacts(
        url=client.base_url,
        health=health,
        models=models,
        capabilities=capabilities,
        metrics=metrics,
        elsewhere=elsewhere,
    )


async def _answer(question: Awaitable[T]) -> T | OmniError:
    try:
        return await question
    except OmniError as error:
        return error


async def _find_elsewhere(url: str, error: OmniError, connect: Connect) -> str | None:
    """Return the first of the likely addresses at which a server answers."""
    candidates = _likely_addresses(url, error)
    answers = await asyncio.gather(*(_responds(each, connect) for each in candidates))
    return next((each for each, responds in zip(candidates, answers, strict=True) if responds), None)


def _likely_addresses(url: str, error: OmniError) -> tuple[str, ...]:
    """Return the addresses that may have been meant, given how this one failed."""
    parts = urlsplit(url)
    with_tls, without_tls = f"https{url.removeprefix('http')}", f"http{url.removeprefix('https')}"
    status = error.exchange.status if error.exchange else None
    if isinstance(error, ServerUnreachable) and error.reason == "tls":
        return (without_tls,)
    if parts.scheme == "http" and (isinstance(error, ConnectionLost) or status == _ANSWERS_ON_PLAIN_PORT):
        return (with_tls,)
    if isinstance(error, ServerUnreachable) and error.reason == "refused":
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return tuple(f"{parts.scheme}://{host}:{port}" for port in USUAL_PORTS if port != parts.port)
    return ()


async def _responds(url: str, connect: Connect) -> bool:
    """Whether a server answers; one whose certificate is not trusted does."""
    client = connect(url, with_secrets=False)
    try:
        return await client.health_check()
    except ServerUnreachable as error:
        return error.reason == "tls" and is_about_certificate(error)
    except OmniError:
        return False
    finally:
        await client.aclose()


def is_about_certificate(error: OmniError) -> bool:
    """Whether the other side speaks TLS, and only its certificate is not trusted."""
    return "certificate" in error.message.lower()
