"""Cost model: fit a linear cost law to measurements, and start again when the server's speed has changed."""

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from statistics import median
from typing import Final

Terms = tuple[float, ...]
"""The terms of a linear law, or its coefficients, in the same order."""

_WEIGHT: Final = 0.02
"""Weight of one assumed coefficient relative to one measurement: the variance of a measurement (about 5 %,
squared) divided by that of a coefficient (about 35 %, squared). Chosen with the simulated servers of
`benchmarks/estimator.py`; half or twice as much changes the error by less than half a percent."""

_USUAL_ERROR: Final = 0.06
"""Relative errors up to this are noise and count in full; larger ones count less. Chosen the same way."""

_REWEIGHTED: Final = 4
"""Rounds of Huber weighting; it converges in three or four."""

_SWEEPS: Final = 40
_SETTLED: Final = 1e-3
"""Relative change of a coefficient below which another round is not worthwhile."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        terms: One for each coefficient, none negative, not all zero.
        value: The measured value, above 0.
    """

    terms: Terms
    value: float


def value(coefficients: Terms, terms: Terms) -> float:
    """The value of the law for these terms."""
    return sum(map(mul, coefficients, terms))


def scale(assumed: Terms, samples: Sequence[Sample]) -> float:
    """The factor by which the assumed law fits best: the median of the ratios; 1 without samples.

    For an even number of samples, the geometric mean of the middle two.
    """
    if not samples:
        return 1.0
    ratios = sorted(sample.value / value(assumed, sample.terms) for sample in samples)
    middle = len(ratios) // 2
    return ratios[middle] if len(ratios) % 2 else math.sqrt(ratios[middle - 1] * ratios[middle])


def fit_coefficients(assumed: Terms, samples: Sequence[Sample]) -> Terms:
    """Fit the law's coefficients to samples, or return the assumed ones if there are none; none is negative.

    The assumed coefficients are not all zero. Apart from rounding, the order of the samples does not matter.
    """
    if not samples:
        return assumed
    factor = scale(assumed, samples)
    by_terms: defaultdict[Terms, list[float]] = defaultdict(list)
    for sample in samples:
        by_terms[sample.terms].append(sample.value)
    # In units of the assumed law times the factor, so that every coefficient and value is about 1.
    groups: list[tuple[Terms, list[float]]] = []
    for terms, measured in by_terms.items():
        base = value(assumed, terms)
        share = tuple(c * t / base for c, t in zip(assumed, terms, strict=True))
        groups.append((share, [each / (base * factor) for each in measured]))
    moved = _multipliers(groups, len(assumed))
    return tuple(c * factor * m for c, m in zip(assumed, moved, strict=True))


def _multipliers(groups: Sequence[tuple[Terms, Sequence[float]]], size: int) -> list[float]:
    """The factor for each coefficient, from the values that were measured for each distinct share."""
    moved = [1.0] * size
    for _ in range(_REWEIGHTED):
        before, (matrix, right) = moved, _equations(groups, moved)
        moved = _eliminate(matrix, right)
        if min(moved) < 0:
            moved = _descend(matrix, right, moved)
        if max(abs(new - old) for new, old in zip(moved, before, strict=True)) <= _SETTLED:
            break
    return moved


def _equations(
    groups: Sequence[tuple[Terms, Sequence[float]]], moved: Sequence[float]
) -> tuple[list[list[float]], list[float]]:
    """The normal equations with Huber weights from the errors of the current solution."""
    size = len(moved)
    matrix = [[_WEIGHT if row == column else 0.0 for column in range(size)] for row in range(size)]
    right = [_WEIGHT] * size
    for share, values in groups:
        expected = sum(map(mul, moved, share)) or _SETTLED
        errors = [abs(measured / expected - 1.0) for measured in values]
        weights = [1.0 if error <= _USUAL_ERROR else _USUAL_ERROR / error for error in errors]
        weight = sum(weights) / (expected * expected)
        measured = sum(map(mul, weights, values)) / (expected * expected)
        for row, own in enumerate(share):
            right[row] += own * measured
            line = matrix[row]
            for column in range(row + 1):
                line[column] += weight * own * share[column]
    for row in range(size):
        for column in range(row):
            matrix[column][row] = matrix[row][column]
    return matrix, right


def _eliminate(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Solve by Gaussian elimination; a positive definite matrix needs no pivoting."""
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
    """Solve with no negative coefficient, by coordinate descent."""
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
"""Maximum number of measurements that a law is fitted to."""

_ERRORS_KEPT: Final = 20

_REFITTED_AT: Final = 8
"""A law is fitted again once an eighth of its measurements are new, because single ones hardly change it."""

_WARM_UP: Final = 1.3
"""A first image that took this many times longer than expected was slowed down by the server's start."""

_LEAST_SHARE: Final = 0.2
"""After a change, coefficients start at no less than this share of the assumed ones."""


@dataclass(frozen=True, slots=True)
class _Alarm:
    """A rule that detects a change of speed: most of the last measurements are off in the same direction.

    Attributes:
        of_the_last: How many measurements to look at.
        at_least: How many of them must be off.
        off_by: By how much at least, as the logarithm of the ratio.
        agreeing_within: How far these may differ from each other, as a logarithm.
    """

    of_the_last: int
    at_least: int
    off_by: float
    agreeing_within: float = math.inf

    def rings(self, off: Sequence[float]) -> bool:
        """Whether these logarithms of measured over expected show a change; the newest is last."""
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
"""The first: four in a row, all more than 12 % off. The others detect a large change with one outlier, a
large change after three measurements, and a small change that persists. A false alarm costs little, because
the new law keeps the shape of the old one."""


_EXPLAINED: Final = math.log(1.08)
"""How far the last measurements may be from a fit of all, if only the kind of image has changed."""


@dataclass(frozen=True, slots=True)
class _Measured:
    sample: Sample
    first: bool


class CostModel:
    """A linear law, fitted to the last measurements; one thread may read while another writes."""

    def __init__(self, assumed: Terms) -> None:
        self._assumed = assumed
        self._coefficients = assumed
        self._measured: deque[_Measured] = deque(maxlen=WINDOW)
        self._errors: deque[float] = deque(maxlen=_ERRORS_KEPT)
        self._recent: deque[tuple[float, _Measured]] = deque(maxlen=max(a.of_the_last for a in _ALARMS))
        self._unfitted = 0
        self.changes: int = 0
        """How often a change of speed made the law start again."""

    @property
    def count(self) -> int:
        """Number of measurements that the law is fitted to."""
        return len(self._measured)

    @property
    def errors(self) -> tuple[float, ...]:
        """Relative errors of the last predictions, at most 20."""
        return tuple(self._errors)

    @property
    def usual(self) -> float | None:
        """The median of the last 20 measurements; None without any."""
        last = [measured.sample.value for measured in tuple(self._measured)][-_ERRORS_KEPT:]
        return median(last) if last else None

    @property
    def only_first(self) -> bool:
        """Whether all measurements are of first images, which a server's start may have slowed down."""
        return bool(self._measured) and all(measured.first for measured in tuple(self._measured))

    def value(self, terms: Terms) -> float:
        """The value of the law for these terms."""
        return value(self._coefficients, terms)

    def observe(self, terms: Terms, measured: float, *, first: bool = False) -> None:
        """Learn from a measurement; takes about ten microseconds, or a millisecond when the law is fitted.

        The `first` measurement since the server or this process started is used only if there is no other, or
        if it is not slower than the others. The terms are not all zero; the measurement is above 0.
        """
        expected = self.value(terms)
        new = _Measured(Sample(terms, measured), first)
        if self._measured and not first:
            if not self.only_first:
                self._errors.append(abs(expected - measured) / measured)
            self._recent.append((math.log(measured / expected), new))
        self._measured.append(new)
        self._unfitted += 1
        off = [ratio for ratio, _ in self._recent]
        since = next((alarm.of_the_last for alarm in _ALARMS if alarm.rings(off)), 0)
        if since and not self._explains(since):
            self._start_again(since)
        elif self._unfitted * _REFITTED_AT >= len(self._measured):
            self._fit()

    def _explains(self, since: int) -> bool:
        """Whether a fit of all measurements explains the last ones, so that the speed has not changed."""
        self._fit()
        last = [measured.sample for _, measured in self._recent][-since:]
        off = median(abs(math.log(sample.value / self.value(sample.terms))) for sample in last)
        if off > _EXPLAINED:
            return False
        self._recent.clear()
        return True

    def _start_again(self, since: int) -> None:
        if before := list(self._measured)[:-since]:
            self._coefficients = fit_coefficients(self._assumed, [measured.sample for measured in before])
        kept = [measured for _, measured in self._recent][-since:]
        self._assumed = tuple(
            max(c, _LEAST_SHARE * a) for c, a in zip(self._coefficients, self._assumed, strict=True)
        )
        self._measured.clear()
        self._measured.extend(kept)
        self._recent.clear()
        self._errors.clear()
        self.changes += 1
        self._fit()

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
