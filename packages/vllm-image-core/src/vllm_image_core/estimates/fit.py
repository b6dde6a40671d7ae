"""A fit: the coefficients of a linear law, moved from what was assumed to what was measured.

Two stages. First the assumed law keeps its shape, and one factor fits it to the measurements: the median of
their ratios, so that a few wild ones count for little. Then each coefficient may move by itself, as far as
the measurements outweigh the assumption: least squares of the relative errors, with Huber's weights against
wild ones, ridge towards the assumed law times that factor, no coefficient below zero.

Pure Python: importing numpy would take a thousand times as long as all the fits of a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

__all__ = ["Sample", "Terms", "fitted", "scale", "value"]

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


def fitted(assumed: Terms, samples: Sequence[Sample]) -> Terms:
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
    moved = _moved(shares, values, len(assumed))
    return tuple(c * factor * m for c, m in zip(assumed, moved, strict=True))


def _moved(shares: Sequence[Terms], values: Sequence[float], size: int) -> list[float]:
    """By what each coefficient is multiplied."""
    moved = [1.0] * size
    for _ in range(_REWEIGHTED):
        before, moved = moved, _solved(*_equations(shares, values, moved))
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


def _solved(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """The least squares solution with no negative coefficient.

    Args:
        matrix: Of the normal equations, positive definite.
        right: Their right side.
    """
    found = _eliminated(matrix, right)
    return found if min(found) >= 0 else _descended(matrix, right, found)


def _eliminated(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
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


def _descended(
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
