"""A calibration: what is learned of each server from its pictures, and kept for the next time."""

import threading
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Final

from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.estimation.measurements import Measurement, Measurements, Origin
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import Work
from vllm_image_core.models.profile import Profile

__all__ = [
    "Calibration",
    "CompletedImage",
    "ServiceClock",
]


_KEPT: Final = 64
_TOGETHER: Final = 0.05
"""A picture whose own time is below this share of its due one was made together with the one before it."""


class ServiceClock:
    """When the pictures of one server ended, on one clock of seconds.

    Args:
        parallelism: How many the server makes at the same time, at least 1.
    """

    def __init__(self, parallelism: int = 1) -> None:
        self.parallelism = parallelism
        self._ends: list[float] = []

    def service_seconds(
        self, ended: float, elapsed: float, *, generation: float | None = None
    ) -> float | None:
        """The service time of a picture that has ended; None where it cannot be told.

        Args:
            ended: When, in seconds. Pictures may be told of a little out of order.
            elapsed: Seconds from sending to the answer.
            generation: Seconds as the server told them, its queue included.
        """
        took = elapsed if generation is None or not 0 < generation < elapsed else generation
        sent = ended - took
        place = bisect_left(self._ends, ended)
        before = self._ends[max(0, place - self.parallelism)] if place >= self.parallelism else sent
        meanwhile = place - bisect_left(self._ends, sent)
        insort(self._ends, ended)
        del self._ends[:-_KEPT]
        service = ended - max(sent, before)
        # Several that were made together end together, and the time between their ends is that of none.
        together = meanwhile and service < _TOGETHER * took * self.parallelism / (meanwhile + 1)
        return None if together or service <= 0 else service

    @property
    def last_end(self) -> float | None:
        """When the last picture ended; None before the first."""
        return self._ends[-1] if self._ends else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedImage:
    """A picture that a server has just made.

    Attributes:
        origin: The server, its model, its version, and whether it was an edit.
        profile: The model's.
        work: What was made.
        ended: When the answer was there, in seconds of a clock that never goes back.
        elapsed_seconds: From sending to the answer.
        generation_seconds: As the server told it, its queue included; None where it does not.
        peak_mib: The peak of the GPU's memory, in mebibytes, as the server told it.
        attempts: How often it was sent.
        parallel: How many pictures its server makes at the same time; None where it has not told.
    """

    origin: Origin
    profile: Profile
    work: Work
    ended: float
    elapsed_seconds: float
    generation_seconds: float | None = None
    peak_mib: float | None = None
    attempts: int = 1
    parallel: int | None = None

    @classmethod
    def from_reply(
        cls,
        reply: ImageGenerationReply,
        *,
        origin: Origin,
        profile: Profile,
        work: Work,
        ended: float,
        seconds: float,
        parallel: int | None = None,
    ) -> "CompletedImage":
        """What a reply tells of its picture.

        Args:
            reply: The server's.
            origin: Where it came from.
            profile: The model's.
            work: What was asked for.
            ended: When it was there, in seconds of a clock that never goes back.
            seconds: From asking to then; the client's own measurement is taken where it made one.
            parallel: How many pictures the server makes at the same time; None where it has not told.
        """
        metrics, receipt = reply.metrics, reply.receipt
        return cls(
            origin=origin,
            profile=profile,
            work=work,
            ended=ended,
            elapsed_seconds=receipt.elapsed_seconds or seconds if receipt else seconds,
            generation_seconds=metrics.generation_seconds if metrics else None,
            peak_mib=metrics.peak_memory_mib if metrics else None,
            attempts=receipt.attempts if receipt else 1,
            parallel=parallel,
        )


@dataclass(slots=True)
class _Known:
    predictor: Predictor
    read_to: int = 0
    seen: bool = False


class Calibration:
    """The predictors of the servers of one studio; may be used by several threads.

    Args:
        measurements: What was measured before, and where new measurements go.
    """

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements
        self._known: dict[Origin, _Known] = {}
        self._clocks: dict[str, ServiceClock] = {}
        self._lock = threading.Lock()

    def predictor(self, origin: Origin, profile: Profile) -> Predictor:
        """What is known of a server; the first time, waits for the disk: what was measured before?

        Args:
            origin: The server, its model and its version.
            profile: The model's, for what was not measured yet.
        """
        return self._of(origin, profile).predictor

    def cached_predictor(self, origin: Origin, profile: Profile) -> Predictor:
        """The same as `predictor`, without the disk: the profile's where nothing was read or learned yet."""
        known = self._known.get(origin)
        return Predictor(profile) if known is None else known.predictor

    def learn(self, made: CompletedImage) -> None:
        """Learn from a picture, and from what other processes have written since; waits for the disk."""
        known = self._of(made.origin, made.profile)
        with self._lock:
            clock = self._clocks.setdefault(made.origin.server, ServiceClock())
            measurement = _measurement(made, known, clock)
            if measurement is None:
                return
            known.seen = True
            _learn(known.predictor, measurement)
            after = known.read_to
        news = self._measurements.add(made.origin, measurement, after=after)
        with self._lock:
            if known.read_to != after:
                return  # another thread has read the same meanwhile
            known.read_to = news.read_to
            for other in news.measurements:
                _learn(known.predictor, other)

    def _of(self, origin: Origin, profile: Profile) -> _Known:
        known = self._known.get(origin)
        if known is not None:
            return known
        before = self._measurements.read(origin)
        new = _Known(Predictor(profile), read_to=before.read_to)
        for measurement in before.measurements:
            _learn(new.predictor, measurement)
        with self._lock:
            return self._known.setdefault(origin, new)


def _measurement(made: CompletedImage, known: _Known, clock: ServiceClock) -> Measurement | None:
    if made.parallel is not None:
        clock.parallelism = max(1, made.parallel)
    seconds = clock.service_seconds(made.ended, made.elapsed_seconds, generation=made.generation_seconds)
    sent_once = made.attempts == 1
    if not sent_once and made.generation_seconds is None:
        return None  # nobody can tell what of that time was waiting between attempts
    if seconds is None:
        return None
    return Measurement(
        work=made.work, seconds=seconds, peak_mib=made.peak_mib, first=not (known.seen and sent_once)
    )


def _learn(predictor: Predictor, measurement: Measurement) -> None:
    predictor.observe(
        measurement.work,
        measurement.seconds,
        peak_mib=measurement.peak_mib,
        first=measurement.first,
    )
