"""Failover: send a call from server to server until one answers or no other could."""

import contextlib
import copy
import logging
from collections.abc import Awaitable, Callable, Generator
from typing import Final

from vllm_omni_client.errors import OmniError, ServerBusy, ServerUnreachable
from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.errors import BadPicture, ImageError, PoisonRequest
from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.fleet.error_policy import ErrorPolicy, policy_for
from vllm_image_core.fleet.health_checks import HealthChecks
from vllm_image_core.fleet.scheduler import Scheduler
from vllm_image_core.fleet.server import LONGEST_REQUESTED_SECONDS, FleetCall, Server
from vllm_image_core.fleet.server_pool import ServerPool
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.text import error_name

_logger = logging.getLogger(__name__)

_DEATHS: Final = 2
_MOST_REMEMBERED: Final = 1_000
_MOST_REFUSALS: Final = 3
_MOST_REFUSALS_OF_A_BATCH: Final = 8
_SHORTEST_SECONDS: Final = 0.1
"""With less of its time left, a call is not sent to another server."""

Send = Callable[[Server], Awaitable[ImageGenerationReply]]
"""Sends a call to one server."""


class Failover:
    """Runs each call on as few servers as it takes to get an answer."""

    def __init__(
        self, pool: ServerPool, health_checks: HealthChecks, scheduler: Scheduler, clock: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._health_checks = health_checks
        self._scheduler = scheduler
        self._clock = clock
        self._deadly: dict[str, list[str]] = {}
        self._active = 0

    async def serve(
        self, request: ServerRequest, call: FleetCall, send: Send
    ) -> tuple[ImageGenerationReply, Server]:
        """Get an answer to a call, and return it with the server that gave it.

        The last server's error is raised when none is left for it.
        """
        with self._remembering_deaths(request, call):
            return await self._serve(call, send)

    async def _serve(self, call: FleetCall, send: Send) -> tuple[ImageGenerationReply, Server]:
        self._active += 1
        if self._active == 1:
            self._health_checks.begin()
            self._scheduler.begin()
        try:
            await self._health_checks.ensure_models_known()
            while True:
                member = await self._scheduler.turn(call)
                try:
                    reply = await self._send(call, member, send)
                except (OmniError, ImageError) as error:
                    _logger.debug("%s: failed on %s with %s", call.label, member.url, error_name(error))
                    await self._raise_if_final(call, member, error)
                    _logger.debug("%s: waiting for the next server", call.label)
                    call.first = True
                else:
                    if call.suspects is not None:  # it failed a request that another server did
                        call.suspects.record_false_refusal(self._clock())
                        call.suspects = None
                        self._scheduler.fail_unservable()
                    return reply, member
        finally:
            if call.suspects is not None:
                call.suspects.clear_suspicion()
            self._active -= 1
            if not self._active:
                self._health_checks.end()

    @contextlib.contextmanager
    def _remembering_deaths(self, request: ServerRequest, call: FleetCall) -> Generator[None]:
        """Recognise a request that an engine died on when it comes back after an outage."""
        if self._deadly:
            call.deaths = self._deadly.pop(request.model_dump_json(), call.deaths)
        try:
            yield
        except (ServerUnreachable, ServerBusy):
            if call.deaths:
                self._deadly[request.model_dump_json()] = call.deaths
                while len(self._deadly) > _MOST_REMEMBERED:
                    del self._deadly[next(iter(self._deadly))]
            raise

    async def _send(self, call: FleetCall, member: Server, send: Send) -> ImageGenerationReply:
        record = member.record_abandoned  # if cancelled, or by a bug: not the server's fault
        try:
            reply = await send(member)
            self._check(reply, call)
            record = member.record_answered
        except (OmniError, ImageError) as error:
            record = None
            usual = self._pool.seconds_of(member)
            member.record_failed(call, error, policy_for(error), self._clock(), usual)
            if member.circuit.in_doubt and not member.probing:
                member.probing = True
                self._health_checks.start(self._health_checks.probe(member))
            self._scheduler.fail_unservable()
            raise
        finally:
            if record is not None:
                record(call, self._clock(), self._pool.seconds_of(member))
                self._scheduler.dispatch()
        return reply

    def _check(self, reply: ImageGenerationReply, call: FleetCall) -> None:
        """Refuse a reply whose first image is invalid, so that another server generates it.

        Our own client has checked its replies already; only a client writes receipts.
        """
        if reply.receipt is not None:
            return
        try:
            Picture.check(reply.data[0].bytes)
        except BadPicture as error:
            call.budget.record_failure(error, self._clock(), cost="yes")
            raise

    async def _raise_if_final(self, call: FleetCall, member: Server, error: OmniError | ImageError) -> None:
        """Raise the error unless another server, or this one with its new model, may answer the call."""
        policy = policy_for(error)
        call.error = copy.copy(error)
        if policy.changed and await self._has_changed(call, member):
            return
        if not policy.elsewhere:
            raise error
        if len(call.deaths) >= _DEATHS:
            died = " and ".join(sorted(set(call.deaths)))
            raise PoisonRequest(
                f"The engine died on this request twice: {died}.",
                attempts=call.budget.attempts,
                generations=call.budget.spent,
            ) from error
        if self._must_give_up(call, member, policy, error):
            raise error
        call.alone |= policy.deadly

    def _must_give_up(
        self, call: FleetCall, member: Server, policy: ErrorPolicy, error: OmniError | ImageError
    ) -> bool:
        if policy.fault == "suspect":
            if call.suspects is not None:
                member.clear_suspicion()
                return True
            call.suspects = member
        elif policy.shared and call.avoided:
            return True
        if policy.shared or policy.fault == "bad_reply":
            call.avoided.add(member)
        call.refusals += policy.fault == "busy"
        if call.budget.seconds_left < _SHORTEST_SECONDS or self._asks_too_long(call, error):
            return True
        if policy.costly and not (call.repeatable and call.budget.left):
            return True
        return call.refusals > (_MOST_REFUSALS_OF_A_BATCH if call.low_priority else _MOST_REFUSALS)

    def _asks_too_long(self, call: FleetCall, error: OmniError | ImageError) -> bool:
        """Return whether a server asks for more time than a call waits, and no other one takes requests."""
        asked = error.retry_after_seconds if isinstance(error, ServerBusy) else None
        if asked is None or asked <= min(LONGEST_REQUESTED_SECONDS, call.budget.seconds_left):
            return False
        now = self._clock()
        return not any(each.is_in and each.paused_until <= now for each in self._pool.members)

    async def _has_changed(self, call: FleetCall, member: Server) -> bool:
        """Return whether a server serves another model now than when it got the request that it refused."""
        if member.names == call.sent_to:
            await self._health_checks.read_models(member)
        return member.names != call.sent_to
