"""Examine a server: its health, its model, its version and its response time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from vllm_omni_client.capabilities import GENERATIONS_PATH
from vllm_omni_client.errors import NotFound, OmniError

from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.fleet.backend import Backend, DescribedBackend
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.fleet.server_pool import ChooseModel

ServerStatus = Literal["healthy", "unhealthy", "unreachable"]
_SEVERAL = 2
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Displayed):
    """The result of examining a server."""

    server_url: str
    status: ServerStatus
    """healthy: alive with a model loaded; unhealthy: it answers but cannot generate images."""
    model: str | None = None
    latency_seconds: float | None = None
    """Response time of ``/health``."""
    version: str | None = None
    """vLLM's version."""
    error: OmniError | None = None
    """Why it is not healthy."""
    servers: tuple["Health", ...] = ()
    """The result for each server of a fleet, in the order they were given; empty for a single server."""

    def _card(self) -> Card:
        return Card(
            title=f"{self.server_url}: {self.status}",
            facts={
                "model": self.model,
                "version": self.version,
                "latency": None if self.latency_seconds is None else f"{self.latency_seconds * 1000:.0f} ms",
                "error": self.error,
                "next step": self.error and self.error.next_step,
            },
            columns=("server", "status", "model", "error"),
            rows=[(each.server_url, each.status, each.model, _text(each.error)) for each in self.servers],
        )


def _text(error: OmniError | None) -> str | None:
    return None if error is None else str(error)


async def examine(backend: Backend, *, timer: Callable[[], float] = time.perf_counter) -> Health:
    """Ask a server for its health, its models and its version; never raises ``OmniError``.

    In a fleet, each server is asked as well, all at the same time.
    """
    if not isinstance(backend, Fleet) or len(backend.backends) < _SEVERAL:
        return await _examine(backend, timer)
    choose = backend.choose_model
    fleet, *servers = await asyncio.gather(
        _examine(backend, timer), *(_examine(each, timer, choose) for each in backend.backends)
    )
    return replace(fleet, servers=tuple(servers))


async def _examine(backend: Backend, timer: Callable[[], float], choose: ChooseModel | None = None) -> Health:
    started = timer()
    try:
        alive = await backend.health_check()
    except OmniError as error:
        answered = error.exchange is not None and error.exchange.status is not None
        status = "unhealthy" if answered else "unreachable"
        return Health(server_url=backend.base_url, status=status, error=error)
    latency = timer() - started
    (model, error), lack = await asyncio.gather(_read_model(backend, choose), _lack_of_images(backend))
    return Health(
        server_url=backend.base_url,
        status="healthy" if alive and model and not lack else "unhealthy",
        model=model,
        latency_seconds=latency,
        version=await _version(backend),
        error=error or lack,
    )


async def _lack_of_images(backend: Backend) -> OmniError | None:
    """Return the error that every image would end with if the server has a language model."""
    if isinstance(backend, Fleet) and len(backend.backends) == 1:
        [backend] = backend.backends
    if not isinstance(backend, DescribedBackend):
        return None
    try:
        known = await backend.capabilities()
    except OmniError:
        return None
    if known.has(GENERATIONS_PATH):
        return None
    return NotFound(
        f"the server has no route {GENERATIONS_PATH}: it has a language model, or runs without --omni",
        status=_NOT_FOUND,
    )


async def _read_model(backend: Backend, choose: ChooseModel | None) -> tuple[str | None, OmniError | None]:
    try:
        models = await backend.get_models()
        models = choose(models) if choose else models
    except OmniError as error:
        return None, error
    return (models.data[0].id, None) if models.data else (None, None)


async def _version(backend: Backend) -> str | None:
    try:
        return await backend.get_version()
    except OmniError:
        return None
