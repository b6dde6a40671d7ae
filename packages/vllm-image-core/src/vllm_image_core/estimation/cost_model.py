"""A law that learns: assumed first, fitted to what is measured, begun anew when the server has changed."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from statistics import median
from typing import Final

__all__ = [
    "CostModel",
    "Sample",
    "Terms",
    "fit_coefficients",
    "scale",
    "value",
]


Terms = tuple[float, ...]
"""The terms of a linear law, or its coefficients, in one order."""

_WEIGHT: Final = 0.02
"""How much the assumption of one coefficient weighs beside one measurement: the variance of a measurement
(about 5 %, squared) over that of a coefficient (about 35 %, squared). Chosen on the simulated servers of
`benchmarks/estimator.py`; a half or twice of it changes the error by less than half a percent."""

_USUAL_ERROR: Final = 0.06
"""A relative error up to this is noise and counts in full; beyond, its weight falls. Chosen likewise."""

_REWEIGHTED: Final = 4
"""Rounds of Huber's weights: they settle in three or four."""

_SWEEPS: Final = 40
_SETTLED: Final = 1e-3
"""A change of a coefficient, relative to the assumed one, that is no longer worth another round."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: what the law's terms were, and what came out.

    Attributes:
        terms: One for each coefficient, none negative, not all zero.
        value: What was measured, above zero.
    """

    terms: Terms
    value: float


def value(coefficients: Terms, terms: Terms) -> float:
    """What the law says."""
    return sum(map(mul, coefficients, terms))


def scale(assumed: Terms, samples: Sequence[Sample]) -> float:
    """The one factor by which the assumed law fits best: the median of the ratios; 1 without samples.

    Of an even number, the geometric mean of the middle two.
    """
    if not samples:
        return 1.0
    ratios = sorted(sample.value / value(assumed, sample.terms) for sample in samples)
    middle = len(ratios) // 2
    return ratios[middle] if len(ratios) % 2 else math.sqrt(ratios[middle - 1] * ratios[middle])


def fit_coefficients(assumed: Terms, samples: Sequence[Sample]) -> Terms:
    """The law's coefficients after these samples; without any, as assumed. None is negative.

    Args:
        assumed: The coefficients before anything was measured, none negative, not all zero.
        samples: In any order; the result does not depend on it but for rounding.
    """
    if not samples:
        return assumed
    bases = [value(assumed, sample.terms) for sample in samples]
    factor = scale(assumed, samples)
    # In units of the assumed law times the factor: every coefficient is assumed to be 1, every value about 1.
    shares = [
        tuple(c * t / base for c, t in zip(assumed, sample.terms, strict=True))
        for sample, base in zip(samples, bases, strict=True)
    ]
    values = [sample.value / (base * factor) for sample, base in zip(samples, bases, strict=True)]
    moved = _multipliers(shares, values, len(assumed))
    return tuple(c * factor * m for c, m in zip(assumed, moved, strict=True))


def _multipliers(shares: Sequence[Terms], values: Sequence[float], size: int) -> list[float]:
    """By what each coefficient is multiplied."""
    moved = [1.0] * size
    for _ in range(_REWEIGHTED):
        before, moved = moved, _solve_nonnegative(*_equations(shares, values, moved))
        if max(abs(new - old) for new, old in zip(moved, before, strict=True)) <= _SETTLED:
            break
    return moved


def _equations(
    shares: Sequence[Terms], values: Sequence[float], moved: Sequence[float]
) -> tuple[list[list[float]], list[float]]:
    """The normal equations with Huber's weights, as the errors of the solution so far have them."""
    size = len(moved)
    matrix = [[_WEIGHT if row == column else 0.0 for column in range(size)] for row in range(size)]
    right = [_WEIGHT] * size
    for share, measured in zip(shares, values, strict=True):
        expected = sum(map(mul, moved, share)) or _SETTLED
        error = abs(measured / expected - 1.0)
        weight = (1.0 if error <= _USUAL_ERROR else _USUAL_ERROR / error) / (expected * expected)
        for row, own in enumerate(share):
            weighted = weight * own
            right[row] += weighted * measured
            line = matrix[row]
            for column in range(row + 1):
                line[column] += weighted * share[column]
    for row in range(size):
        for column in range(row):
            matrix[column][row] = matrix[row][column]
    return matrix, right


def _solve_nonnegative(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """The least squares solution with no negative coefficient.

    Args:
        matrix: Of the normal equations, positive definite.
        right: Their right side.
    """
    found = _eliminate(matrix, right)
    return found if min(found) >= 0 else _descend(matrix, right, found)


def _eliminate(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """The solution by Gauss; a positive definite matrix needs no pivoting."""
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for place, pivot in enumerate(rows):
        for line in rows[place + 1 :]:
            ratio = line[place] / pivot[place]
            for column in range(place, len(line)):
                line[column] -= ratio * pivot[column]
    found = [0.0] * len(rows)
    for place in range(len(rows) - 1, -1, -1):
        line = rows[place]
        known = sum(map(mul, line[place + 1 : -1], found[place + 1 :]))
        found[place] = (line[-1] - known) / line[place]
    return found


def _descend(
    matrix: Sequence[Sequence[float]], right: Sequence[float], start: Sequence[float]
) -> list[float]:
    """The solution at or above zero, by descent along one coefficient after the other."""
    found = [max(0.0, coefficient) for coefficient in start]
    for _ in range(_SWEEPS):
        furthest = 0.0
        for row, line in enumerate(matrix):
            rest = right[row] - sum(map(mul, line, found)) + line[row] * found[row]
            new = max(0.0, rest / line[row])
            furthest = max(furthest, abs(new - found[row]))
            found[row] = new
        if furthest <= _SETTLED:
            break
    return found


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


class CostModel:
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
        since = self._samples_since_change()
        if since and not self._explains(since):
            self._begin_anew(since)
        elif self._unfitted * _REFITTED_AT >= len(self._measured):
            self._fit()

    def _samples_since_change(self) -> int:
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
            self._coefficients = fit_coefficients(self._assumed, [measured.sample for measured in before])

    def _fit(self) -> None:
        self._coefficients = fit_coefficients(self._assumed, self._trusted_samples())
        self._unfitted = 0

    def _trusted_samples(self) -> list[Sample]:
        others = [measured.sample for measured in self._measured if not measured.first]
        firsts = [measured.sample for measured in self._measured if measured.first]
        if not others or not firsts:
            return others or firsts
        most = _WARM_UP * scale(self._assumed, others)
        return [first for first in firsts if first.value <= most * value(self._assumed, first.terms)] + others
