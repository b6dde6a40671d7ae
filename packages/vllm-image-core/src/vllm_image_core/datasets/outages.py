"""Outages: repeat a request until its servers are back, and keep an image until the store accepts it."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from vllm_omni_client.errors import OmniError, ServerBusy
from vllm_omni_client.generation_budget import GenerationBudget

from vllm_image_core.batches.context import OUTAGE_SECONDS, PROBE_SECONDS
from vllm_image_core.batches.gates import GateClosed, OutageGate
from vllm_image_core.batches.worker import meaning_by_health, meaning_of
from vllm_image_core.errors import CannotSave, RunStopped
from vllm_image_core.text import message_of

Value = TypeVar("Value")

_TIMES: Final = 2
"""Engine deaths or lost connections after which a request has failed."""


class Outages:
    """What one process knows about the availability of its servers and its store.

    An outage is noticed once: all requests wait for one probe at a time.

    Args:
        is_healthy: Whether a server can serve requests.
        is_writable: Whether the store takes files.
        outage_seconds: Longest outage to wait out.
        probe_seconds: Minimum time between two probes.
    """

    def __init__(
        self,
        is_healthy: Callable[[], Awaitable[bool]],
        is_writable: Callable[[], Awaitable[bool]],
        *,
        outage_seconds: float = OUTAGE_SECONDS,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        self._is_healthy = is_healthy
        self._stopped: str | None = None
        self._probe_seconds = probe_seconds
        self._servers, self._store = (
            OutageGate(
                probe,
                interval_seconds=probe_seconds,
                outage_seconds=outage_seconds,
                on_change=self._ignore,
                on_give_up=self._stop,
            )
            for probe in (self._healthy, is_writable)
        )

    def close(self) -> None:
        """End all waiting."""
        self._stop("it was closed")

    async def send(self, call: Callable[[], Awaitable[Value]], budget: GenerationBudget) -> Value:
        """Call servers until one answers, waiting while they are unavailable.

        Raises:
            OmniError: The request has failed.
            RunStopped: The servers or the store were unavailable for too long.
        """
        deaths = losses = 0
        while True:
            await self._wait_for(self._store.wait_until_available())
            await self._wait_for(self._servers.enter())
            try:
                value = await call()
            except OmniError as error:
                meaning = meaning_of(error) or await meaning_by_health(error, self._servers)
                deaths += meaning == "death"
                losses += meaning == "lost"
                if meaning in {"outage", "death"}:
                    self._away(error)
                else:
                    self._servers.record_success()
                if meaning == "failure" or max(deaths, losses) >= _TIMES or budget.left == 0:
                    raise
            else:
                self._servers.record_success()
                return value

    async def save(self, write: Callable[[], Awaitable[Value]]) -> Value:
        """Write to the store, retrying while it is unavailable.

        Raises:
            CannotSave: It was unavailable for too long.
        """
        while True:
            try:
                value = await write()
            except CannotSave as error:
                self._store.record_failure(message_of(error))
                if not await self._store.wait_until_available():
                    raise
            else:
                self._store.record_success()
                return value

    async def _wait_for(self, gate: Awaitable[bool | None]) -> None:
        try:
            is_open = await gate is not False
        except GateClosed:
            is_open = False
        if not is_open:
            raise RunStopped(f"The run has stopped: {self._stopped or 'it was closed'}.")

    def _away(self, error: OmniError) -> None:
        wait = error.retry_after_seconds or self._probe_seconds if isinstance(error, ServerBusy) else 0.0
        self._servers.record_failure(message_of(error), wait_seconds=wait)

    async def _healthy(self) -> bool:
        try:
            return await self._is_healthy()
        except OmniError:
            return False

    def _stop(self, reason: str) -> None:
        self._stopped = self._stopped or reason.rstrip(".")
        self._servers.close()
        self._store.close()

    def _ignore(self, reason: str | None) -> None:
        """Do nothing: nobody watches."""
