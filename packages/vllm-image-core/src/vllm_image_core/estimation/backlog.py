"""An ETA: when the rest of a batch will be done, from what is left and how fast its servers are."""

import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import NO_LOAD, TASKS, Load, Task, Work

__all__ = ["Backlog", "Eta", "ServerSpeed", "basis_of", "duration"]

_PACE_OVER: Final = 100
"""The pictures whose real pace is compared with the predicted one."""

_TRUST: Final = 10
"""The prediction weighs as much as the pace of so many pictures."""

_PACES: Final = (0.2, 5.0)

_OUTAGE: Final = 20
"""So many times what a picture took on average, nothing was made."""

_AHEAD_OF: Final = 4 / 3
"""A picture of which nothing is known but that it has taken so long, takes so many times that."""

_LATE: Final = "nothing measured yet: pictures take longer than the profile says, and nobody knows how much"

_SECONDS: Final = 90
_MINUTE: Final = 60
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Eta:
    """How long until all is done; `str(eta)` is such as "about 40 s left (measured)".

    Attributes:
        seconds: From now; None where nobody can know.
        basis: What it rests on.
        measured: Whether that is this server's own pictures.
    """

    seconds: float | None
    basis: str
    measured: bool = False

    def __str__(self) -> str:
        if self.seconds is None:
            return f"time left not known ({self.basis})"
        source = "measured" if self.measured else self.basis.removeprefix("nothing measured yet: ")
        return f"{duration(self.seconds)} left ({source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpeed:
    """One server, as far as the time of a batch depends on it.

    Attributes:
        predictor: How long pictures take there that are made from words alone.
        edits: How long those take that are made from pictures; None where nothing is known of them.
        parallelism: How many it makes at the same time, at least 1.
        others: Requests of others that it has, running and waiting (`/metrics`), 0 where that is not known.
    """

    predictor: Predictor
    edits: Predictor | None = None
    parallelism: int = 1
    others: int = 0

    def of(self, task: Task) -> Predictor:
        """What is known of one kind; of edits, while none was measured, what is known of the others."""
        if task == "generation" or self.edits is None:
            return self.predictor
        return self.predictor if self.predictor.pictures and not self.edits.pictures else self.edits

    def seconds(self, load: Load) -> float:
        """How long some pictures take, one after the other."""
        return sum(self.of(task).seconds_of(load.of_task(task)) for task in TASKS)

    @property
    def changes(self) -> int:
        """How often the server has changed its speed."""
        return sum(predictor.changes for predictor in (self.predictor, self.edits) if predictor)


@dataclass(frozen=True, slots=True)
class _Running:
    work: Work
    load: Load
    began: float


class Backlog:
    """What is left of a batch, kept up to date one picture at a time; each call takes microseconds.

    Args:
        timer: Seconds on a clock that never goes back.
    """

    def __init__(self, *, timer: Callable[[], float] = time.perf_counter) -> None:
        self._timer = timer
        self._waiting = NO_LOAD
        self._running: dict[Hashable, _Running] = {}
        self._done = NO_LOAD
        self._busy = 0.0
        self._seen = timer()
        self._last_end: float | None = None
        self._paces: deque[tuple[float, Load]] = deque([(0.0, NO_LOAD)], maxlen=_PACE_OVER)
        self._changes = 0

    def add(self, work: Work, count: int = 1) -> None:
        """A picture that will be made, or so many of one kind."""
        self._waiting += Load.of(work) * count

    def mark_sent(self, key: Hashable, work: Work) -> None:
        """A picture that was added has been sent; `key` stands for it from now on."""
        self._pass_time()
        load = Load.of(work)
        self._waiting -= load
        self._running[key] = _Running(work, load, self._seen)

    def mark_returned(self, key: Hashable) -> None:
        """A picture that was sent waits again: its server has failed, or is paused."""
        self._pass_time()
        running = self._running.pop(key, None)
        if running is not None:
            self._waiting += running.load

    def mark_ended(self, key: Hashable, *, made: bool) -> None:
        """A picture will not be made any more; `made`: because a server has made it now."""
        self._pass_time()
        running = self._running.pop(key, None)
        if running is None or not made:
            return
        self._busy = min(self._busy, self._longest())
        self._done += running.load
        self._last_end = self._seen
        self._paces.append((self._busy, self._done))

    @property
    def load(self) -> Load:
        """What is left, with what is under way."""
        return sum((running.load for running in self._running.values()), self._waiting)

    def eta(
        self, speeds: Sequence[ServerSpeed], *, pictures_left: int | None = None, more: bool = False
    ) -> Eta:
        """The time until the rest is done.

        Args:
            speeds: The servers that work on it, at least one.
            pictures_left: How many pictures are left, those under way included, for whoever knows better:
                where some were never added, as of a batch that goes on after a stop, they are taken to be
                like the others.
            more: Whether more pictures may come that nobody has counted yet.
        """
        self._pass_time()
        if more:
            return Eta(seconds=None, basis="how many pictures will come is not known")
        left = self._with_unknown(pictures_left)
        if left is None:
            return Eta(seconds=None, basis="no picture of this batch has begun yet")
        basis, measured = _basis(speeds, left)
        pace = self._pace(speeds)
        slots = sum(speed.parallelism for speed in speeds)
        under_way = [
            (_fastest(running.work, speeds), self._seconds_worked(running, slots))
            for running in list(self._running.values())[:slots]
        ]
        if not measured and not self._done.pictures:
            late = max((worked / whole for whole, worked in under_way), default=0.0)
            basis = _LATE if late > 1.0 else basis
            pace = max(pace, _AHEAD_OF * late)
        predicted = [(pace * whole, worked) for whole, worked in under_way]
        behind = sum(min(whole, worked) for whole, worked in predicted) / slots
        longest = max((_still(whole, worked) for whole, worked in predicted), default=0.0)
        rest = pace * _together(left, speeds) - behind
        return Eta(seconds=max(0.0, rest, longest) + _queue(speeds), basis=basis, measured=measured)

    def _with_unknown(self, pictures_left: int | None) -> Load | None:
        """What is left with pictures that nobody has added; None where nothing tells what they are like."""
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
        """Where the busy time may be at the next end: more than that was an outage, and no work."""
        before, pictures = self._paces[-1][0], self._done.pictures
        return before + _OUTAGE * before / pictures if pictures >= _TRUST else math.inf

    def _seconds_worked(self, running: _Running, slots: int) -> float:
        """Seconds since a server began with it: not before the last one ended, where they queue."""
        queued = len(self._running) > slots and self._last_end is not None
        return self._seen - (max(running.began, self._last_end or 0.0) if queued else running.began)

    def _pace(self, speeds: Sequence[ServerSpeed]) -> float:
        """Real over predicted seconds of the last pictures, drawn towards 1: whatever the law leaves out."""
        changes = sum(speed.changes for speed in speeds)
        if changes != self._changes:
            self._changes = changes
            self._paces.clear()
            self._paces.append((self._busy, self._done))
        (busy, done), (_, before) = self._paces[-1], self._paces[0]
        counted = done - before
        if not counted.pictures:
            return 1.0
        expected = _together(counted, speeds)
        trust = _TRUST * expected / counted.pictures
        low, high = _PACES
        return min(high, max(low, (busy - self._paces[0][0] + trust) / (expected + trust)))


def duration(seconds: float) -> str:
    """Seconds as one says them: "about 40 s", "about 12 min", "about 3 h 20 min"."""
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
    """To a figure that does not pretend to more than is known: in steps of 1 to 10, of 5 above."""
    return round(number) if number < 10 else 5 * round(number / 5)  # noqa: PLR2004 - as the docstring says


def _still(whole: float, worked: float) -> float:
    """What is left of one that is under way. One that is overdue may be so for half as long again."""
    return max(whole - worked, (worked - whole) / 2)


def _together(load: Load, speeds: Sequence[ServerSpeed]) -> float:
    """Seconds of the servers together for a load that each takes its share of."""
    rates = (speed.parallelism / max(speed.seconds(load), 1e-9) for speed in speeds)
    return 1.0 / sum(rates) if load.pictures else 0.0


def _fastest(work: Work, speeds: Sequence[ServerSpeed]) -> float:
    return min(speed.of(work.task).seconds(work) for speed in speeds)


def _queue(speeds: Sequence[ServerSpeed]) -> float:
    """Seconds for what others have waiting there, taken to be like the last pictures."""
    waits = (
        speed.others * (speed.predictor.usual_seconds or 0.0) / speed.parallelism
        for speed in speeds
        if speed.others
    )
    return sum(waits) / len(speeds)


def _basis(speeds: Sequence[ServerSpeed], left: Load) -> tuple[str, bool]:
    """What the time rests on, each kind of what is left by itself, and whether all was measured."""
    tasks: list[Task] = [task for task in TASKS if any(left.of_task(task))] or ["generation"]
    told = [basis_of(speeds, task) for task in tasks]
    return "; of edits: ".join(basis for basis, _ in told), all(measured for _, measured in told)


def basis_of(speeds: Sequence[ServerSpeed], task: Task) -> tuple[str, bool]:
    """What the time of one kind rests on, and whether each server was measured."""
    predictors = [speed.of(task) for speed in speeds]
    measured = [predictor for predictor in predictors if predictor.pictures]
    if len(speeds) == 1 or not measured:
        basis = predictors[0].basis
    else:
        pictures = sum(predictor.pictures for predictor in measured)
        errors = [predictor.error for predictor in measured if predictor.error is not None]
        worst = f", off by {max(1, round(100 * max(errors)))} % at worst" if errors else ""
        basis = f"{pictures} pictures on {len(measured)} of {len(speeds)} servers{worst}"
    if task == "edit" and not any(speed.edits and speed.edits.pictures for speed in speeds):
        return (f"no edit measured yet: by {basis}" if measured else basis), False
    return basis, len(measured) == len(speeds)
