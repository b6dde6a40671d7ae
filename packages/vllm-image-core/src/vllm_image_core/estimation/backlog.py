"""Backlog: estimate when the rest of a batch will be done, from what is left and its servers' speeds."""

import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from operator import add
from typing import Final

from vllm_image_core.estimation.cost_model import Terms
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import TASKS, Work
from vllm_image_core.requests.image_request import Task

_RATIO_OVER: Final = 100
"""Number of images over which real and predicted times are compared."""

_TRUST: Final = 10
"""The prediction weighs as much as the measured times of this many images."""

_RATIOS: Final = (0.2, 5.0)

_OUTAGE: Final = 20
"""Time without any image, in multiples of the average time of one, that counts as an outage."""

_AHEAD_OF: Final = 4 / 3
"""An image of which only the time so far is known is assumed to take this many times that."""

_SLOWER_THAN_PROFILE: Final = (
    "nothing measured yet: images take longer than the profile says, by an unknown amount"
)

_SECONDS: Final = 90
_MINUTE: Final = 60
_HOUR: Final = 3600


_NOTHING: Final[Terms] = (0.0,) * 5


@dataclass(frozen=True, slots=True)
class Load:
    """The work of several images; cost models are linear, so the sums of their terms are enough.

    Attributes:
        terms: Sum of the terms of generations.
        pictures: Number of images, including edits.
        edit_terms: Sum of the terms of edits.
    """

    terms: Terms
    pictures: int
    edit_terms: Terms = _NOTHING

    @classmethod
    def of(cls, work: Work) -> "Load":
        """The load of one image."""
        return cls(work.terms, 1) if work.task == "generation" else cls(_NOTHING, 1, work.terms)

    def of_task(self, task: Task) -> Terms:
        """The sum of the terms of one task."""
        return self.terms if task == "generation" else self.edit_terms

    def __add__(self, other: "Load") -> "Load":
        return Load(
            _sum(self.terms, other.terms),
            self.pictures + other.pictures,
            _sum(self.edit_terms, other.edit_terms),
        )

    def __mul__(self, factor: float) -> "Load":
        """This load multiplied by a factor, with the number of images rounded."""
        return Load(
            tuple(factor * term for term in self.terms),
            round(factor * self.pictures),
            tuple(factor * term for term in self.edit_terms),
        )

    def __sub__(self, other: "Load") -> "Load":
        """This load without another one that is part of it; never negative."""
        return Load(
            _difference(self.terms, other.terms),
            max(0, self.pictures - other.pictures),
            _difference(self.edit_terms, other.edit_terms),
        )


def _sum(one: Terms, other: Terms) -> Terms:
    return one if other is _NOTHING else tuple(map(add, one, other))


def _difference(one: Terms, other: Terms) -> Terms:
    if other is _NOTHING:
        return one
    return tuple([a - b if a > b else 0.0 for a, b in zip(one, other, strict=True)])


NO_LOAD: Final = Load(_NOTHING, 0)
"""The load of no images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eta:
    """The time left; `str(eta)` is, for example, "about 40 s left (measured)".

    Attributes:
        seconds: From now; None if unknown.
        basis: What the estimate is based on.
        measured: Whether it is based on images that these servers have generated.
    """

    seconds: float | None
    basis: str
    measured: bool = False

    def __str__(self) -> str:
        if self.seconds is None:
            return f"time left unknown ({self.basis})"
        source = "measured" if self.measured else self.basis.removeprefix("nothing measured yet: ")
        return f"{duration(self.seconds)} left ({source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpeed:
    """The speed of one server, as far as the time of a batch depends on it.

    Attributes:
        predictor: Predicts images generated from text alone.
        edits: Predicts edits; None if nothing is known of them.
        parallelism: How many images it generates at the same time, at least 1.
        others: Other clients' requests, running and waiting (from `/metrics`); 0 if unknown.
    """

    predictor: Predictor
    edits: Predictor | None = None
    parallelism: int = 1
    others: int = 0

    def of(self, task: Task) -> Predictor:
        """The predictor of a task; for edits, that of generations until an edit has been measured."""
        if task == "generation" or self.edits is None:
            return self.predictor
        return self.predictor if self.predictor.pictures and not self.edits.pictures else self.edits

    def seconds(self, load: Load) -> float:
        """Seconds that a load takes, one image after another."""
        return sum(self.of(task).seconds_of(load.of_task(task)) for task in TASKS if any(load.of_task(task)))

    @property
    def changes(self) -> int:
        """How often the server's speed has changed."""
        return sum(predictor.changes for predictor in (self.predictor, self.edits) if predictor)


@dataclass(frozen=True, slots=True)
class _Running:
    work: Work
    load: Load
    began: float


class Backlog:
    """The work left in a batch, updated one image at a time; each call takes microseconds."""

    def __init__(self, *, timer: Callable[[], float] = time.perf_counter) -> None:
        self._timer = timer
        self._waiting = NO_LOAD
        self._running: dict[Hashable, _Running] = {}
        self._done = NO_LOAD
        self._busy = 0.0
        self._seen = timer()
        self._last_end: float | None = None
        self._checkpoints: deque[tuple[float, Load]] = deque([(0.0, NO_LOAD)], maxlen=_RATIO_OVER)
        self._changes = 0

    def add(self, work: Work, count: int = 1) -> None:
        """Add `count` images with the same work."""
        self._waiting += Load.of(work) * count

    def mark_sent(self, key: Hashable, work: Work) -> None:
        """Record that an added image was sent; `key` identifies it from now on."""
        self._pass_time()
        load = Load.of(work)
        self._waiting -= load
        self._running[key] = _Running(work, load, self._seen)

    def mark_returned(self, key: Hashable) -> None:
        """Record that a sent image waits again, because its server has failed or is paused."""
        self._pass_time()
        running = self._running.pop(key, None)
        if running is not None:
            self._waiting += running.load

    def mark_ended(self, key: Hashable, *, generated: bool) -> None:
        """Record that an image has ended; `generated` if a server has generated it now."""
        self._pass_time()
        running = self._running.pop(key, None)
        if running is None or not generated:
            return
        self._busy = min(self._busy, self._longest())
        self._done += running.load
        self._last_end = self._seen
        self._checkpoints.append((self._busy, self._done))

    @property
    def load(self) -> Load:
        """The work left, including images in progress."""
        return sum((running.load for running in self._running.values()), self._waiting)

    def eta(
        self, speeds: Sequence[ServerSpeed], *, pictures_left: int | None = None, more: bool = False
    ) -> Eta:
        """Estimate the time until the rest is done.

        `pictures_left` includes images in progress; those that were never added, as in a resumed batch, are
        assumed to be like the others. `more` images may come that have not been counted yet.
        """
        self._pass_time()
        if more:
            return Eta(seconds=None, basis="the number of images is not known yet")
        left = self._with_unknown(pictures_left)
        if left is None:
            return Eta(seconds=None, basis="no image of this batch has started yet")
        basis, measured = _basis(speeds, left)
        ratio = self._time_ratio(speeds)
        slots = sum(speed.parallelism for speed in speeds)
        in_progress = [
            (
                min(speed.of(running.work.task).seconds(running.work) for speed in speeds),
                self._seconds_worked(running, slots),
            )
            for running in list(self._running.values())[:slots]
        ]
        if not measured and not self._done.pictures:
            late = max((worked / expected for expected, worked in in_progress), default=0.0)
            basis = _SLOWER_THAN_PROFILE if late > 1.0 else basis
            ratio = max(ratio, _AHEAD_OF * late)
        predicted = [(ratio * expected, worked) for expected, worked in in_progress]
        behind = sum(min(expected, worked) for expected, worked in predicted) / slots
        longest = max((_seconds_left(expected, worked) for expected, worked in predicted), default=0.0)
        rest = ratio * _shared_seconds(left, speeds) - behind
        return Eta(seconds=max(0.0, rest, longest) + _queue(speeds), basis=basis, measured=measured)

    def _with_unknown(self, pictures_left: int | None) -> Load | None:
        """The work left, including images that were never added; None if nothing is known about them."""
        load = self.load
        if pictures_left is None or pictures_left == load.pictures:
            return load
        waiting, counted = max(0, pictures_left - len(self._running)), self._waiting.pictures
        if waiting <= counted:
            return load - self._waiting + self._waiting * (waiting / counted if counted else 0.0)
        known = load + self._done
        return load + known * ((waiting - counted) / known.pictures) if known.pictures else None

    def _pass_time(self) -> None:
        now = self._timer()
        if self._running:
            self._busy += max(0.0, now - self._seen)
        self._seen = now

    def _longest(self) -> float:
        """The largest busy time plausible at the next end; anything above was an outage."""
        before, pictures = self._checkpoints[-1][0], self._done.pictures
        return before + _OUTAGE * before / pictures if pictures >= _TRUST else math.inf

    def _seconds_worked(self, running: _Running, slots: int) -> float:
        """Seconds since a server started on it; if requests queue, not before the previous one ended."""
        queued = len(self._running) > slots and self._last_end is not None
        return self._seen - (max(running.began, self._last_end or 0.0) if queued else running.began)

    def _time_ratio(self, speeds: Sequence[ServerSpeed]) -> float:
        """Ratio of real to predicted seconds of the last images, pulled towards 1."""
        changes = sum(speed.changes for speed in speeds)
        if changes != self._changes:
            self._changes = changes
            self._checkpoints.clear()
            self._checkpoints.append((self._busy, self._done))
        (busy, done), (_, before) = self._checkpoints[-1], self._checkpoints[0]
        counted = done - before
        if not counted.pictures:
            return 1.0
        expected = _shared_seconds(counted, speeds)
        trust = _TRUST * expected / counted.pictures
        low, high = _RATIOS
        return min(high, max(low, (busy - self._checkpoints[0][0] + trust) / (expected + trust)))


def duration(seconds: float) -> str:
    """Seconds in words, such as "about 40 s", "about 12 min" or "about 3 h 20 min"."""
    if seconds < 1:
        return "less than 1 s"
    if seconds < _SECONDS:
        return f"about {_round(seconds)} s"
    minutes = round(seconds / _MINUTE)
    if seconds < _SECONDS * _MINUTE:
        return f"about {_round(minutes)} min"
    hours, minutes = divmod(round(minutes / 10) * 10, _MINUTE)
    return f"about {hours} h {minutes} min" if minutes else f"about {hours} h"


def _round(number: float) -> int:
    """Round to a plausible precision: in steps of 1 below 10, of 5 above."""
    return round(number) if number < 10 else 5 * round(number / 5)  # noqa: PLR2004 - as the docstring says


def _seconds_left(expected: float, worked: float) -> float:
    """Seconds left for an image in progress; one that is overdue may take half that delay again."""
    return max(expected - worked, (worked - expected) / 2)


def _shared_seconds(load: Load, speeds: Sequence[ServerSpeed]) -> float:
    """Seconds that the servers need together for a load that they share."""
    rates = (speed.parallelism / max(speed.seconds(load), 1e-9) for speed in speeds)
    return 1.0 / sum(rates) if load.pictures else 0.0


def _queue(speeds: Sequence[ServerSpeed]) -> float:
    """Seconds for other clients' requests, which are assumed to be like the latest images."""
    waits = (
        speed.others * (speed.predictor.usual_seconds or 0.0) / speed.parallelism
        for speed in speeds
        if speed.others
    )
    return sum(waits) / len(speeds)


def _basis(speeds: Sequence[ServerSpeed], left: Load) -> tuple[str, bool]:
    """What the time is based on, for each task that is left, and whether all were measured."""
    tasks: list[Task] = [task for task in TASKS if any(left.of_task(task))] or ["generation"]
    bases = [basis_of(speeds, task) for task in tasks]
    return "; for edits: ".join(basis for basis, _ in bases), all(measured for _, measured in bases)


def basis_of(speeds: Sequence[ServerSpeed], task: Task) -> tuple[str, bool]:
    """What the time of one task is based on, and whether each server was measured."""
    predictors = [speed.of(task) for speed in speeds]
    measured = [predictor for predictor in predictors if predictor.pictures]
    if len(speeds) == 1 or not measured:
        basis = predictors[0].basis
    else:
        pictures = sum(predictor.pictures for predictor in measured)
        errors = [predictor.error for predictor in measured if predictor.error is not None]
        worst = f", off by {max(1, round(100 * max(errors)))} % at worst" if errors else ""
        basis = f"{pictures} images on {len(measured)} of {len(speeds)} servers{worst}"
    if task == "edit" and not any(speed.edits and speed.edits.pictures for speed in speeds):
        return (f"no edit measured yet: based on {basis}" if measured else basis), False
    return basis, len(measured) == len(speeds)
