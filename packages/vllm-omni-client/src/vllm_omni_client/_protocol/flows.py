"""Describe each call as a sequence of requests that either client can carry out. No I/O.

A flow is a generator: it yields each `Step`, and the client sends the reply in or throws in the error.
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
    Unauthorized,
)

T = TypeVar("T")

_HEALTH_SECONDS: Final = 5.0
# Learning the server's capabilities may take this long, but at most a quarter of the call's time.
_LEARNING_SECONDS: Final = 5.0
_LEARNING_SHARE: Final = 4
# After these errors, a second request is pointless.
_NO_ANSWER: Final = (ServerUnreachable, ConnectionLost, ServerBusy)


NO_HEALTH_ROUTE: Final = (NotFound, Unauthorized)
"""What a gateway answers that has no `/health`, or does not let it be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One exchange with the server.

    `seconds` limit the time to the last byte of the reply; after it, the step ends with TimeoutError.
    """

    call: Call[object]
    trace: ConnectionTrace
    seconds: float


Flow = Generator[Step, RawReply, T]


class Flows:
    """The flows of one client's calls."""

    def __init__(self, connection: ConnectionSettings, server: KnownServer) -> None:
        self._connection = connection
        self._server = server

    def attempt(self, call: Call[T], attempts: Attempts) -> Flow[T]:
        """Send a call once; if it fails, find out what that means and raise the error with its record.

        Raises:
            OmniError: The attempt failed.
            TimeoutError: The call's total deadline has passed.
        """
        attempts.begin()
        try:
            return self._connection.read(
                call, (yield Step(call=call, trace=attempts.trace, seconds=attempts.remaining_seconds))
            )
        except OmniError as error:
            failure = self._connection.redact_error(error)
        if not attempts.is_stale(failure):
            self._server.expire_after(failure)
        seconds = min(_HEALTH_SECONDS, attempts.remaining_seconds / 2)
        if attempts.depends_on_health(failure):
            failure = attempts.diagnose(failure, healthy=(yield from self._is_healthy(seconds)))
        if isinstance(failure, ModelChanged):
            failure.served = (yield from self._list_models(seconds)) or failure.served
        if isinstance(failure, NotFound) and call.uses_gpu:
            failure = yield from self._describe_location(failure, seconds)
        raise attempts.annotate(failure)

    def _is_healthy(self, seconds: float) -> Flow[bool]:
        """Ask the server whether it can work; one without `/health` can if it lists its models."""
        health = endpoints.health(closes_connection=True)
        try:
            return (yield from self._query(health, seconds, reraise=NO_HEALTH_ROUTE)) is True
        except NO_HEALTH_ROUTE:
            return (yield from self._query(endpoints.listed(), seconds)) is True

    def _describe_location(self, error: NotFound, seconds: float) -> Flow[NotFound]:
        """Add the address and the models that it serves to the error of a missing image route."""
        names = ", ".join((yield from self._list_models(seconds)))
        shown = f"lists {names}" if names else "lists no model"
        message = f"{error.message}; {self._connection.base_url} {shown} under /v1/models"
        return NotFound(message, status=error.status, exchange=error.exchange)

    def _list_models(self, seconds: float) -> Flow[tuple[str, ...]]:
        """Return the names that the server serves now; empty if it does not say."""
        listed = yield from self._query(endpoints.models(), seconds)
        return tuple(self._connection.redact(card.id) for card in listed.data) if listed else ()

    def learning_seconds(self, attempts: Attempts) -> float:
        """Return how many seconds a call may spend on learning the server's capabilities."""
        return min(_LEARNING_SECONDS, attempts.remaining_seconds / _LEARNING_SHARE)

    def learn(self, seconds: float) -> Flow[Capabilities]:
        """Learn the server's capabilities; missing information is not an error."""
        try:
            version = yield from self._query(endpoints.version(), seconds / 2, reraise=_NO_ANSWER)
        except _NO_ANSWER:
            return self._server.learn(Capabilities())
        if renewed := self._server.renew(version):
            return renewed
        description = yield from self._query(endpoints.openapi(), seconds / 2)
        return self._server.learn(Capabilities.of_openapi(description or b"", version))

    def _query(
        self, call: Call[T], seconds: float, *, reraise: tuple[type[OmniError], ...] = ()
    ) -> Flow[T | None]:
        """Query the server on the side; return None if that fails, but raise the errors in `reraise`."""
        for is_last in (False, True):
            try:
                return self._connection.read(
                    call, (yield Step(call=call, trace=ConnectionTrace(), seconds=seconds))
                )
            except (OmniError, TimeoutError) as error:
                if isinstance(error, ConnectionLost) and error.stale and not is_last:
                    continue  # a stale connection says nothing about the server
                if isinstance(error, reraise):
                    raise
                break
        return None
