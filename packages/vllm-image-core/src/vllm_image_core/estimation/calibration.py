"""Calibration: learn the speed of each server from its images, and store it for later runs."""

import threading
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.estimation.measurements import Measurement, Measurements, Origin
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import Work
from vllm_image_core.models.profile import Profile
from vllm_image_core.storage.grouped_writes import GroupedWrites

_KEPT: Final = 64
_TOGETHER: Final = 0.05
"""An image with less than this share of the expected time was generated together with the previous one."""


class ServiceClock:
    """Compute service times from when the images of one server ended."""

    def __init__(self, parallelism: int = 1) -> None:
        self.parallelism = parallelism
        self._ends: list[float] = []

    def service_seconds(
        self, ended: float, elapsed: float, *, generation: float | None = None
    ) -> float | None:
        """The service time of an image: time on the GPU, without queueing; None if it cannot be determined.

        Times are in seconds: `elapsed` from sending to the answer, `generation` as reported by the server,
        including its queue. Images may be reported slightly out of order.
        """
        took = elapsed if generation is None or not 0 < generation < elapsed else generation
        sent = ended - took
        place = bisect_left(self._ends, ended)
        before = self._ends[max(0, place - self.parallelism)] if place >= self.parallelism else sent
        meanwhile = place - bisect_left(self._ends, sent)
        insort(self._ends, ended)
        del self._ends[:-_KEPT]
        service = ended - max(sent, before)
        # Images that were generated together end together; the time between their ends means nothing.
        together = meanwhile and service < _TOGETHER * took * self.parallelism / (meanwhile + 1)
        return None if together or service <= 0 else service


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedImage:
    """An image that a server has just generated.

    The answer arrived at `ended`, on a monotonic clock, `elapsed_seconds` after sending.
    `generation_seconds`, which include the server's queue, `peak_mib` and `parallel` are None if the server
    does not report them.
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
        """Create it from a server's reply; `seconds` count only if the client has not measured them."""
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
class _ServerState:
    predictor: Predictor
    read_to: int = 0
    seen: bool = False


class Calibration:
    """The predictors of a studio's servers; may be used by several threads.

    Args:
        measurements: Where they are stored for later runs.
        group_seconds: For how long measurements may wait to be stored together.
    """

    def __init__(self, measurements: Measurements, *, group_seconds: float = 0.0) -> None:
        self._measurements = measurements
        self._states: dict[Origin, _ServerState] = {}
        self._clocks: dict[str, ServiceClock] = {}
        self._lock = threading.Lock()
        self._new = GroupedWrites(self._store, seconds=group_seconds)

    def predictor(self, origin: Origin, profile: Profile) -> Predictor:
        """The predictor of a server; blocks on disk I/O the first time, to read earlier measurements."""
        return self._of(origin, profile).predictor

    def learn(self, completed: CompletedImage) -> None:
        """Learn from an image, and from what other processes have written since; blocks on disk I/O."""
        state = self._of(completed.origin, completed.profile)
        with self._lock:
            clock = self._clocks.setdefault(completed.origin.server, ServiceClock())
            measurement = _measurement(completed, state, clock)
            if measurement is None:
                return
            state.seen = True
            _learn(state.predictor, measurement)
        self._new.add((completed.origin, measurement))

    def flush(self) -> None:
        """Store the measurements that still wait, and learn from those of others; blocks on disk I/O."""
        self._new.flush()

    def _store(self, new: Sequence[tuple[Origin, Measurement]]) -> None:
        by_origin: defaultdict[Origin, list[Measurement]] = defaultdict(list)
        for origin, measurement in new:
            by_origin[origin].append(measurement)
        for origin, measurements in by_origin.items():
            state = self._states[origin]
            news = self._measurements.add(origin, *measurements, after=state.read_to)
            with self._lock:
                state.read_to = news.read_to
                for other in news.measurements:
                    _learn(state.predictor, other)

    def _of(self, origin: Origin, profile: Profile) -> _ServerState:
        state = self._states.get(origin)
        if state is not None:
            return state
        before = self._measurements.read(origin)
        new = _ServerState(Predictor(profile), read_to=before.read_to)
        for measurement in before.measurements:
            _learn(new.predictor, measurement)
        with self._lock:
            return self._states.setdefault(origin, new)


def _measurement(completed: CompletedImage, state: _ServerState, clock: ServiceClock) -> Measurement | None:
    if completed.parallel is not None:
        clock.parallelism = max(1, completed.parallel)
    seconds = clock.service_seconds(
        completed.ended, completed.elapsed_seconds, generation=completed.generation_seconds
    )
    sent_once = completed.attempts == 1
    if not sent_once and completed.generation_seconds is None:
        return None  # part of that time was waiting between attempts
    if seconds is None:
        return None
    return Measurement(
        work=completed.work,
        seconds=seconds,
        peak_mib=completed.peak_mib,
        first=not (state.seen and sent_once),
    )


def _learn(predictor: Predictor, measurement: Measurement) -> None:
    predictor.observe(
        measurement.work,
        measurement.seconds,
        peak_mib=measurement.peak_mib,
        first=measurement.first,
    )
