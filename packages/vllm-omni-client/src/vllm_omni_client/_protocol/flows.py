"""Flows: what a call does step by step, written once for both clients. No I/O.

A flow gives out each `Step`; whoever drives it sends the reply in, or throws in how it failed.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, TypeVar

from vllm_omni_client._protocol import endpoints
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.connection_settings import ConnectionSettings
from vllm_omni_client._protocol.connection_trace import ConnectionTrace
from vllm_omni_client._protocol.endpoints import Call
from vllm_omni_client._protocol.known_server import KnownServer
from vllm_omni_client._protocol.reply_body import RawReply
from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.errors import (
    ConnectionLost,
    ModelChanged,
    NotFound,
    OmniError,
    ServerBusy,
    ServerUnreachable,
)

T = TypeVar("T")

_HEALTH_SECONDS: Final = 5.0
# What a server is may cost this much of a call's time to learn, and not more than a quarter of it.
_LEARNING_SECONDS: Final = 5.0
_LEARNING_SHARE: Final = 4
# After these there is no use in a second question.
_NO_ONE_THERE: Final = (ServerUnreachable, ConnectionLost, ServerBusy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One exchange with the server.

    Attributes:
        call: What to send.
        trace: Takes down what the connection does.
        seconds: How long it may take, to the last byte of the answer; then it ends with TimeoutError.
    """

    call: Call[object]
    trace: ConnectionTrace
    seconds: float


Flow = Generator[Step, RawReply, T]


class Flows:
    """What the calls of one client do.

    Args:
        connection: Where the server is, and what is allowed.
        server: What is known of it.
    """

    def __init__(self, connection: ConnectionSettings, server: KnownServer) -> None:
        self._connection = connection
        self._server = server

    def attempt(self, call: Call[T], attempts: Attempts) -> Flow[T]:
        """Send once; where it fails, find out what that means, and raise it with all that was tried.

        Raises:
            OmniError: It failed.
            TimeoutError: The call's total deadline has passed.
        """
        attempts.begin()
        try:
            return self._connection.read(
                call, (yield Step(call=call, trace=attempts.trace, seconds=attempts.remaining_seconds))
            )
        except OmniError as error:
            failure = error
        if not attempts.is_stale(failure):
            self._server.doubt(failure)
        seconds = min(_HEALTH_SECONDS, attempts.remaining_seconds / 2)
        if attempts.depend_on_health(failure):
            healthy = yield from self._quietly(endpoints.health(closes_connection=True), seconds)
            failure = attempts.diagnose(failure, healthy=healthy is True)
        if isinstance(failure, ModelChanged):
            failure.served = (yield from self._list_models(seconds)) or failure.served
        if isinstance(failure, NotFound) and call.uses_gpu:
            failure = yield from self._locate(failure, seconds)
        raise attempts.sign(failure)

    def _locate(self, error: NotFound, seconds: float) -> Flow[NotFound]:
        """Say where it was that there are no pictures, and what is there instead."""
        names = ", ".join((yield from self._list_models(seconds)))
        shown = f"lists {names}" if names else "lists no model"
        message = f"{error.message}; {self._connection.base_url} {shown} under /v1/models"
        return NotFound(message, status=error.status, exchange=error.exchange)

    def _list_models(self, seconds: float) -> Flow[tuple[str, ...]]:
        """Return the names that the server has now; none where it tells none."""
        listed = yield from self._quietly(endpoints.models(), seconds)
        return tuple(self._connection.without_key(card.id) for card in listed.data) if listed else ()

    def learning_seconds(self, attempts: Attempts) -> float:
        """Return how long a call may take to learn what the server can do."""
        return min(_LEARNING_SECONDS, attempts.remaining_seconds / _LEARNING_SHARE)

    def learn(self, seconds: float) -> Flow[Capabilities]:
        """Step the server what it can do, and believe it; what it does not tell is no failure."""
        try:
            version = yield from self._quietly(endpoints.version(), seconds / 2, but=_NO_ONE_THERE)
        except _NO_ONE_THERE:
            return self._server.learn(Capabilities())
        if renewed := self._server.renew(version):
            return renewed
        description = yield from self._quietly(endpoints.openapi(), seconds / 2)
        return self._server.learn(Capabilities.of_openapi(description or b"", version))

    def _quietly(
        self, call: Call[T], seconds: float, *, but: tuple[type[OmniError], ...] = ()
    ) -> Flow[T | None]:
        """Step in passing; None where no answer comes, but for the errors that are to be told."""
        for is_last in (False, True):
            try:
                return self._connection.read(
                    call, (yield Step(call=call, trace=ConnectionTrace(), seconds=seconds))
                )
            except (OmniError, TimeoutError) as error:
                if isinstance(error, ConnectionLost) and error.stale and not is_last:
                    continue  # an idle connection that the server had closed says nothing of it
                if isinstance(error, but):
                    raise
                break
        return None
