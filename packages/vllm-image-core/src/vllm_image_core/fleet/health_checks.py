"""Health checks: ask servers for their models, health and load, apart from their calls."""

import asyncio
import copy
import logging
from collections.abc import Callable, Coroutine
from typing import Final

from vllm_omni_client.errors import EngineDead, OmniError
from vllm_omni_client.metrics import ServerMetrics

from vllm_image_core.fleet.circuit_breaker import PROBE_SECONDS
from vllm_image_core.fleet.server import Server, models_and_version
from vllm_image_core.fleet.server_pool import ServerPool
from vllm_image_core.text import error_name, one_line

_logger = logging.getLogger(__name__)

_TICK_SECONDS: Final = 1.0
"""How often overdue servers are looked for while calls wait."""

_MODEL_CHECK_SECONDS: Final = 30.0
"""How often a server with another model than the wanted one is asked for its model again."""

_SHORTEST_TICK_SECONDS: Final = 0.01
_GRACE_SECONDS: Final = 1.0
"""How long to wait for the other servers once one has reported its model."""

_UNAVAILABLE: Final = 503


class HealthChecks:
    """Checks the servers of a pool, each as rarely as possible.

    It calls `on_change` when a server may have become unavailable or available, and `on_room` when one may
    have room.
    """

    def __init__(
        self,
        pool: ServerPool,
        clock: Callable[[], float],
        *,
        on_change: Callable[[], object],
        on_room: Callable[[], object],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._on_change = on_change
        self._on_room = on_room
        self._open = False
        self._periodic: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._readings: set[asyncio.Task[None]] = set()
        self._reviving: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start: calls come from now on."""
        self._open = True
        self._periodic = None  # one from a closed event loop would never run

    def end(self) -> None:
        """Stop the periodic checks, because there are no more calls."""
        self._open = False
        if self._periodic is not None:
            self._periodic.cancel()
            self._periodic = None

    async def aclose(self) -> None:
        """Stop all checks."""
        for task in (*self._tasks, *([self._periodic] if self._periodic else [])):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, member: Server) -> None:
        """Ask a new server for its models, or leave that to the next call if there are none."""
        if self._open:
            self._start_reading_models(member)

    def start_periodic(self, now: float, *, waiting: bool) -> None:
        """Check the servers periodically while one needs it or calls wait."""
        if self._periodic is None and self._open and (waiting or self._needs_checks(now)):
            self._periodic = asyncio.get_running_loop().create_task(self._check_periodically())

    async def ensure_models_known(self) -> None:
        """Ask the servers for their models once; a slow server delays calls only briefly.

        A call that comes meanwhile waits for the first answer, too.
        """
        asked = [self._start_reading_models(member) for member in self._pool.members if not member.asked]
        while self._readings and not any(member.names for member in self._pool.members):
            await self._wait_for_answer()
        if not asked:
            return
        if pending := [task for task in asked if not task.done()]:
            await asyncio.wait(pending, timeout=_GRACE_SECONDS)
        self._pool.models_known = True
        self._pool.compare()

    async def read_models(self, member: Server) -> bool:
        """Ask a server for its models, and return whether it reported them."""
        member.asked = True
        try:
            listed, version = await models_and_version(member.backend)
            models = self._pool.choose(listed)
        except OmniError as error:
            _logger.debug("Server %s does not report its model: %s", member.url, error_name(error))
            member.last_error = copy.copy(error)
            member.circuit.record_failure(self._clock(), surely=True)
            self._on_change()
            return False
        member.set_models(models, version)
        _logger.debug(
            "Server %s has %s, vLLM-Omni %s",
            member.url,
            one_line(", ".join(member.names)),
            one_line(str(version)),
        )
        member.seen = self._clock()
        if self._pool.models_known:
            self._pool.compare()
        self._on_change()
        return True

    async def revive(self) -> None:
        """Probe the servers that are left out, if it is time; concurrent callers share one probe."""
        if self._reviving is None or self._reviving.done():
            self._reviving = self.start(self._probe_all())
        await asyncio.shield(self._reviving)

    async def check(self, member: Server) -> None:
        """Check the health of a server that gets requests, unless it has just shown that it is healthy."""
        if not member.is_in or self._clock() < member.seen + PROBE_SECONDS:
            return
        member.seen = self._clock()
        if not await self._is_well(member):
            member.circuit.record_failure(self._clock(), surely=True)
            self._on_change()

    def update_counts(self, member: Server) -> None:
        """Ask a server how many requests it has, if it is time to."""
        if self._pool.parallel is None and member.should_ask_counts(self._clock()):
            self.start(self._update_counts(member))

    async def count_requests(self, member: Server) -> ServerMetrics:
        """Ask a server for its metrics, and record how many of its requests are not ours."""
        before = member.in_progress
        metrics = await member.backend.get_metrics()
        own = max(before, member.in_progress)
        member.set_request_counts(metrics.requests_running, metrics.requests_waiting, own=own)
        return metrics

    async def probe(self, member: Server) -> None:
        """Check the health of a server that is left out or in doubt, and let it back in if it is healthy."""
        member.circuit.record_probe(self._clock())
        member.probing = True
        try:
            well = await self._is_well(member)
        finally:
            member.probing = False
        if well and await self.read_models(member):
            member.circuit.half_open()
        else:
            member.circuit.record_ill_health(self._clock())
            member.record_crash()
        self._on_change()

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run work in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _wait_for_answer(self) -> None:
        """Wait until a server that was asked for its models answers; all callers share one wait."""

        async def wait() -> None:
            await asyncio.wait(self._readings, return_when=asyncio.FIRST_COMPLETED)

        if self._answering is None or self._answering.done():
            self._answering = asyncio.get_running_loop().create_task(wait())
        await asyncio.shield(self._answering)

    async def _update_counts(self, member: Server) -> None:
        try:
            metrics = await self.count_requests(member)
        except OmniError:
            return  # its images will show whether it is healthy
        member.observe_parallelism(metrics.requests_running, metrics.requests_waiting)
        self._on_room()

    async def _probe_all(self) -> None:
        now = self._clock()
        lost = not any(
            member.is_in and self._pool.serves(member, self._pool.wanted) for member in self._pool.members
        )
        due = [
            member
            for member in self._pool.members
            if not member.probing and member.circuit.may_probe(now, last_hope=lost)
        ]
        others = self._due_to_read_models(now, PROBE_SECONDS if lost else _MODEL_CHECK_SECONDS)
        await asyncio.gather(*map(self.probe, due), *map(self.read_models, others))

    def _due_to_read_models(self, now: float, seconds: float) -> list[Server]:
        """Return the servers with another model than the wanted one that were last seen this long ago."""
        return [
            member
            for member in self._pool.members
            if member.is_in
            and now >= member.seen + seconds
            and not self._pool.serves(member, self._pool.wanted)
        ]

    async def _is_well(self, member: Server) -> bool:
        try:
            well = await member.backend.health_check()
        except OmniError as error:
            _logger.debug("Server %s is not healthy: %s", member.url, error_name(error))
            member.last_error = copy.copy(error)
            return False
        _logger.debug("Server %s is %s", member.url, "healthy" if well else "not healthy")
        if not well:
            member.last_error = EngineDead(f"{member.url}: /health does not return 200", status=_UNAVAILABLE)
        return well

    def _start_reading_models(self, member: Server) -> asyncio.Task[None]:
        member.asked = True

        async def read() -> None:
            await self.read_models(member)

        task = self.start(read())
        self._readings.add(task)
        task.add_done_callback(self._readings.discard)
        return task

    def _needs_checks(self, now: float) -> bool:
        return any(
            member.circuit.is_open
            or member.paused_until > now
            or (member.is_in and not self._pool.serves(member, self._pool.wanted))
            for member in self._pool.members
        )

    async def _check_periodically(self) -> None:
        """Probe servers that are left out, resume paused ones, and notice overdue ones."""
        while True:
            now = self._clock()
            times = [member.paused_until - now for member in self._pool.members if member.paused_until > now]
            await asyncio.sleep(max(_SHORTEST_TICK_SECONDS, min([*times, _TICK_SECONDS])))
            now = self._clock()
            probes = any(member.circuit.may_probe(now) for member in self._pool.members)
            if probes or self._due_to_read_models(now, _MODEL_CHECK_SECONDS):
                await self.revive()
            self._on_room()
