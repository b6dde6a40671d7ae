"""Concurrency limit: find how many requests a server should have at once, from its throughput.

Up to a point, twice as many requests bring twice as many images per second; above it, they only wait. So the
limit is raised in large steps until some of the requests that were sent together wait for others, then set to
that point plus some waiting requests, and probed a little higher and lower from time to time. While it is
probed, latency is not used as a signal, because it grows with batching.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

FIRST: Final = 2
"""One running, one waiting."""

FIRST_ALONE: Final = 13
"""The same for a server that gets all requests anyway."""

_STEPS: Final = (6, 33, 41)
"""The next limits; each is tried only if all requests of the one before ran at the same time."""

_GROWTH: Final = 1.2
"""Smallest increase of the limit; above the largest step, it is raised by a quarter."""

_KEEPS_UP: Final = 0.6
"""Share of its growth by which a limit must raise the throughput to be raised again."""

_KEEPS_UP_OF_TWO: Final = 0.75
"""The same for two requests, whose sizes may differ much: either one runs or both do."""

_WAITED_AT_FIRST: Final = 1.5
"""A request that takes this many times as long as the fastest of the first ones has waited."""

_WAITED: Final = 1.35
"""The same, of the usual time."""

_MOST_WAITED: Final = 0.05
"""Share of requests that may have taken so long for another reason."""

_ENOUGH: Final = 0.9
"""Share of the requests sent together whose replies are enough to judge by."""

_TOGETHER: Final = 0.1
"""Replies within this share of a request's time count as one wave."""

_WARMER: Final = 0.8
"""If requests take less than this share of the earlier ones' time, the server was still warming up."""

_SLOWER: Final = 1.15
"""If they take this many times as long, more of them wait."""

_WORTH_IT: Final = 1.05
"""A higher limit is kept if the throughput rises by this factor."""

_NO_LOSS: Final = 0.985
"""A lower limit is kept if the throughput stays above this factor."""

_PREFIX: Final = 0.6
"""Requests sent together come back in waves; the wave that ends after this share of them counts."""

_FIRST_GAP: Final = 2
_LONGEST_GAP: Final = 32
_PERIOD: Final = 6
"""Throughput is compared over this many times the limit, which makes a few percent visible."""

_Phase = Literal["rising", "steady", "trying"]


@dataclass(slots=True)
class _Round:
    """What came back since a point in time."""

    began: float
    skipped: int = 0
    count: int = 0
    work: float = 0.0
    best: float = 0.0
    first: float = 0.0
    rate: float = 0.0
    delivered: float = 0.0
    seconds: float = 0.0
    to_send: int = 0
    times: list[float] = field(default_factory=list[float])
    expected: int = 0

    def against(self, other: "_Round", now: float) -> tuple[float, float]:
        """Return the ratio of this round's throughput to another's, measured in two ways.

        Work per time is right for a server that runs one request after another, and wrong if requests come
        back in waves; work per request's duration is right for waves, and wrong if requests differ in size.
        """
        return _ratio(self.by_time(now), other.rate), _ratio(self.by_request, other.by_request)

    def by_time(self, now: float) -> float:
        """Return the work per second."""
        return _ratio(self.work, now - self.began)

    @property
    def by_request(self) -> float:
        """Work per second, averaged over the requests while each was in progress."""
        return _ratio(self.delivered, self.seconds)


@dataclass(frozen=True, slots=True)
class RequestToken:
    """What is remembered about a request in progress."""

    at: float
    delivered: float
    measured: "_Round | None" = None


@dataclass(slots=True)
class _Mean:
    """The mean of values that come in groups."""

    total: float = 0.0
    count: int = 0

    @property
    def mean(self) -> float:
        """The mean of all values so far."""
        return self.total / self.count

    def add(self, values: Sequence[float]) -> None:
        """Add a group of values."""
        self.total += sum(values)
        self.count += len(values)


@dataclass(slots=True)
class ConcurrencyLimiter:
    """Limits the requests that one server has at once. Times are seconds on a clock that never goes back.

    It begins with the limit `first`.
    `parallel` requests run at the same time; None to find it out. `ceiling` is the maximum at once; None for
    none.
    """

    parallel: int | None = None
    ceiling: int | None = None
    first: int = FIRST
    in_progress: int = field(default=0, init=False)
    _value: int = field(default=FIRST, init=False)
    _usual: _Mean = field(default_factory=_Mean, init=False)
    _phase: _Phase = field(default="rising", init=False)
    _round: _Round | None = field(default=None, init=False)
    _delivered: float = field(default=0.0, init=False)
    _full_at: float = field(default=-math.inf, init=False)
    _before: tuple[int, float] | None = field(default=None, init=False)
    _tried_from: int = field(default=FIRST, init=False)
    _base: _Round = field(default_factory=lambda: _Round(0.0), init=False)
    _up: bool = field(default=True, init=False)
    _until_try: int = field(default=_FIRST_GAP, init=False)
    _gap: int = field(default=_FIRST_GAP, init=False)
    _roof: int | None = field(default=None, init=False)
    _least: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        self._value = self.first
        if self.parallel is not None:
            self.set_parallel(self.parallel)

    @property
    def value(self) -> int:
        """Number of requests that may be in progress, at least 1."""
        return max(1, self._value if self.ceiling is None else min(self._value, self.ceiling))

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent."""
        return self.in_progress < self.value

    def set_parallel(self, parallel: int) -> None:
        """Set how many requests the server runs at the same time, at least 1."""
        self.parallel = self._least = max(1, parallel)
        self._settle(_with_waiting(self.parallel))

    def record_sent(self, now: float) -> RequestToken:
        """Count a request that is sent now; pass the result to `record_answered`."""
        self.in_progress += 1
        self._look(now)
        measured = self._round = self._round or self._new_round(now)
        if self._phase != "rising" or measured.to_send <= 0:
            return RequestToken(now, self._delivered)
        measured.to_send -= 1
        return RequestToken(now, self._delivered, measured)

    def _new_round(self, now: float) -> _Round:
        """Begin to measure: while the limit rises, only requests that are sent together from now on."""
        missing = self.value - self.in_progress + 1
        number = missing if missing > 1 and self.value <= _STEPS[-2] else self.value
        return _Round(now, to_send=number, expected=number)

    def record_answered(self, sent: RequestToken, now: float, work: float = 1.0) -> None:
        """Count a request that was answered, with its work in any unit."""
        self._look(now)
        # A server that runs a group of requests together answers them before another can be sent.
        was_full = now - self._full_at <= _TOGETHER * (now - sent.at)
        self.in_progress -= 1
        self._delivered += work
        measured = self._round
        if measured is None or not was_full:
            self._round = None
            return
        if measured.skipped > 0:
            measured.skipped -= 1
            if measured.skipped == 0:
                self._round = _Round(now)
            return
        self._take(measured, sent, now, work)
        if self._phase == "rising":
            if sent.measured is measured:
                measured.times.append((now - sent.at) / work)
            is_over = len(measured.times) >= max(1, _ENOUGH * measured.expected)
        else:
            is_over = measured.count >= self.value * _PERIOD
        if is_over:
            self._close(measured, now)

    def record_aborted(self) -> None:
        """Count a request that ended without an answer."""
        self.in_progress -= 1
        self._round = None

    def record_refused(self) -> None:
        """Count a request that the server refused because it was full: its limit is reached."""
        self.in_progress -= 1
        self._roof = max(1, self.in_progress)
        if self.in_progress >= self._value:
            return
        if self._phase == "rising" and self._round is not None:
            self._value = self._roof
            self._round.expected -= 1
        else:
            self._settle(self._roof)

    def _look(self, now: float) -> None:
        if self.in_progress >= _nearly(self.value):
            self._full_at = now

    def _take(self, measured: _Round, sent: RequestToken, now: float, work: float) -> None:
        measured.count += 1
        measured.work += work
        measured.delivered += self._delivered - sent.delivered
        measured.seconds += now - sent.at
        elapsed = now - measured.began
        if elapsed <= 0:
            return
        if measured.count == 1:
            measured.first = work / elapsed
        if measured.count >= max(2, _PREFIX * self.value) or self.value == 1:
            measured.best = max(measured.best, measured.work / elapsed)

    def _close(self, measured: _Round, now: float) -> None:
        self._round = None if self._phase == "rising" else _Round(now)
        match self._phase:
            case "rising":
                self._rise(measured)
            case "steady":
                measured.rate = measured.by_time(now)
                self._stay(measured)
            case "trying":
                self._judge(measured, now)

    def _rise(self, measured: _Round) -> None:
        """Raise the limit if all of its requests ran at the same time; otherwise set it to those that did."""
        fewer, slower = self._before or (1, measured.first)
        usual = self._usual.mean if self._before else min(measured.times)
        slowdown = statistics.fmean(measured.times) / usual if self._before else 1.0
        if slowdown < _WARMER:
            self._start_again()
            return
        longest = usual * (_WAITED if self._before else _WAITED_AT_FIRST)
        waited = sum(each > longest for each in measured.times)
        growth = _ratio(measured.best, slower)
        kept_up = growth * fewer / self.value >= (_KEEPS_UP if self.value > FIRST else _KEEPS_UP_OF_TWO)
        if waited > _MOST_WAITED * len(measured.times) or slowdown > _SLOWER or not kept_up:
            ran = min(self.value - waited, self.value / slowdown)
            self.parallel = max(fewer, round(ran if self.value > FIRST else min(ran, growth)))
            self._settle(_with_waiting(self.parallel))
        elif self.value >= self._top:
            self._least = self.value  # all of them were needed
            self._settle(self.value)
        else:
            self._usual.add(measured.times)
            self._before = (self.value, measured.best)
            self._value = next_limit(self.value)
            self._round = None

    def _start_again(self) -> None:
        self._before, self._usual, self._value, self._round = None, _Mean(), self.first, None

    @property
    def _top(self) -> float:
        return min(self.ceiling or math.inf, self._roof or math.inf)

    def _settle(self, value: int) -> None:
        self._value = max(1, value)
        self._phase = "steady"
        self._before = None
        self._round = None
        self._until_try = self._gap = _FIRST_GAP

    def _stay(self, measured: _Round) -> None:
        self._until_try -= 1
        if self._until_try > 0:
            return
        step = max(1, self.value // 8)
        target = self.value + (step if self._up else -step)
        if not self._least < target <= self._top:
            self._up = not self._up
            self._rest()
            return
        self._base, self._tried_from = measured, self.value
        self._value = target
        self._phase = "trying"
        self._round = _Round(self._round.began if self._round else 0.0, skipped=max(target, self._tried_from))

    def _judge(self, measured: _Round, now: float) -> None:
        gained = min(measured.against(self._base, now))
        self._phase = "steady"
        if gained >= (_WORTH_IT if self._up else _NO_LOSS):
            self._gap, self._until_try = _FIRST_GAP, 1
            self.parallel = max(1, self._value - max(1, self._value // 6))
            return
        self._value = self._tried_from
        self._up = not self._up
        self._rest()

    def _rest(self) -> None:
        self._gap = min(2 * self._gap, _LONGEST_GAP)
        self._until_try = self._gap
        if self._gap == _LONGEST_GAP:
            self._roof = None


def next_limit(value: int) -> int:
    """Return the limit to try after one whose requests all ran at the same time."""
    return next((step for step in _STEPS if step >= _GROWTH * value), value + value // 4)


def _with_waiting(parallel: int) -> int:
    """Return how many requests keep this many running: some wait or are in transit."""
    return parallel + max(1, math.ceil(parallel / 5))


def _nearly(value: int) -> int:
    """Return how many requests count as full: one may be between its reply and its successor."""
    return max(1, min(value - 1, math.ceil(0.75 * value)) if value > FIRST else value - 1)


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else 0.0
