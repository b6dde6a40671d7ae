"""A law that learns: assumed first, fitted to what is measured, begun anew when the server has changed."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from vllm_image_core.estimates.fit import Sample, Terms, fitted, scale, value

__all__ = ["Law"]

WINDOW: Final = 128
"""The measurements that a law rests on, at most."""

_ERRORS_KEPT: Final = 20

_REFITTED_AT: Final = 8
"""A law of many measurements is fitted again when an eighth of them is new: no single one moves it."""

_WARM_UP: Final = 1.3
"""A first picture that took this many times what the others say was slowed by the server's start."""

_LEAST_SHARE: Final = 0.2
"""No coefficient of the old law starts again below this share of the one that was assumed."""


@dataclass(frozen=True, slots=True)
class _Alarm:
    """A server has changed when of so many measurements in a row all but a few were off to the same side.

    Attributes:
        of_the_last: How many are looked at.
        at_least: How many of them have to be off.
        off_by: By how much at least, as the logarithm of the ratio.
        agreeing_within: How far these may be from each other, likewise.
    """

    of_the_last: int
    at_least: int
    off_by: float
    agreeing_within: float = math.inf

    def rings(self, off: Sequence[float]) -> bool:
        """Whether these logarithms of measured over expected show a change; the last one is the newest."""
        last = off[-self.of_the_last :]
        for side in (1, -1):
            far = [ratio for ratio in last if ratio * side > self.off_by]
            if len(far) >= self.at_least and max(far) - min(far) <= self.agreeing_within:
                return True
        return False


_ALARMS: Final = (
    _Alarm(4, 4, math.log(1.12)),
    _Alarm(5, 4, math.log(1.2)),
    _Alarm(3, 3, math.log(1.25), agreeing_within=0.2),
    _Alarm(12, 11, math.log(1.05)),
)
"""The first: four in a row, all more than 12 % off. The others are for a large change with a wild measurement
in between, for a large one, and for a small one that stays. A false alarm costs little: what is begun anew
has the shape of the law before it."""


_EXPLAINED: Final = math.log(1.08)
"""So far the last measurements may be from a fit of all of them, where nothing but their kind has changed."""


@dataclass(frozen=True, slots=True)
class _Measured:
    sample: Sample
    first: bool


class Law:
    """A linear law, fitted to the last measurements; one thread may ask while another one tells.

    Args:
        assumed: Its coefficients before anything was measured, none negative, not all zero.
    """

    def __init__(self, assumed: Terms) -> None:
        self._assumed = assumed
        self._coefficients = assumed
        self._measured: deque[_Measured] = deque(maxlen=WINDOW)
        self._errors: deque[float] = deque(maxlen=_ERRORS_KEPT)
        self._recent: deque[tuple[float, _Measured]] = deque(maxlen=max(a.of_the_last for a in _ALARMS))
        self._unfitted = 0
        self._changes = 0

    @property
    def count(self) -> int:
        """How many measurements the law rests on."""
        return len(self._measured)

    @property
    def changes(self) -> int:
        """How often the server has changed so much that the law was begun anew."""
        return self._changes

    @property
    def errors(self) -> tuple[float, ...]:
        """How far off the last predictions were, relative to what was measured then; at most 20."""
        return tuple(self._errors)

    @property
    def usual(self) -> float | None:
        """The median of the last 20 measurements; None without any."""
        last = [measured.sample.value for measured in tuple(self._measured)][-_ERRORS_KEPT:]
        return median(last) if last else None

    @property
    def only_first(self) -> bool:
        """Whether it rests on nothing but first pictures, which a server's start may have slowed."""
        return bool(self._measured) and all(measured.first for measured in tuple(self._measured))

    def value(self, terms: Terms) -> float:
        """What the law says of these terms."""
        return value(self._coefficients, terms)

    def observe(self, terms: Terms, measured: float, *, first: bool = False) -> None:
        """Learn from a measurement; some ten microseconds each, with a fit now and then of a millisecond.

        Args:
            terms: None negative, not all zero.
            measured: Above zero, finite.
            first: The first since the server or this process began: believed only while there is no other,
                or where it is not slower than the others.
        """
        expected = self.value(terms)
        new = _Measured(Sample(terms, measured), first)
        if self._measured and not first:
            if not self.only_first:
                self._errors.append(abs(expected - measured) / measured)
            self._recent.append((math.log(measured / expected), new))
        self._measured.append(new)
        self._unfitted += 1
        since = self._changed_since()
        if since and not self._explains(since):
            self._begin_anew(since)
        elif self._unfitted * _REFITTED_AT >= len(self._measured):
            self._fit()

    def _changed_since(self) -> int:
        """How many of the last measurements show that the server has changed; 0 where it has not."""
        off = [ratio for ratio, _ in self._recent]
        return next((alarm.of_the_last for alarm in _ALARMS if alarm.rings(off)), 0)

    def _explains(self, since: int) -> bool:
        """Whether a fit of all measurements agrees with the last ones: of another kind, but no change."""
        self._fit()
        last = [measured.sample for _, measured in self._recent][-since:]
        off = median(abs(math.log(sample.value / self.value(sample.terms))) for sample in last)
        if off > _EXPLAINED:
            return False
        self._recent.clear()
        return True

    def _begin_anew(self, since: int) -> None:
        self._fit_of_the_rest(since)
        kept = [measured for _, measured in self._recent][-since:]
        self._assumed = tuple(
            max(c, _LEAST_SHARE * a) for c, a in zip(self._coefficients, self._assumed, strict=True)
        )
        self._measured.clear()
        self._measured.extend(kept)
        self._recent.clear()
        self._errors.clear()
        self._changes += 1
        self._fit()

    def _fit_of_the_rest(self, since: int) -> None:
        """The law as it was before the change."""
        before = list(self._measured)[:-since]
        if before:
            self._coefficients = fitted(self._assumed, [measured.sample for measured in before])

    def _fit(self) -> None:
        self._coefficients = fitted(self._assumed, self._believed())
        self._unfitted = 0

    def _believed(self) -> list[Sample]:
        others = [measured.sample for measured in self._measured if not measured.first]
        firsts = [measured.sample for measured in self._measured if measured.first]
        if not others or not firsts:
            return others or firsts
        most = _WARM_UP * scale(self._assumed, others)
        return [first for first in firsts if first.value <= most * value(self._assumed, first.terms)] + others
