"""Write metric families (counters, gauges, summaries, histograms) as Prometheus text."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class MetricFamily:
    """A counter or gauge, with one value per set of labels."""

    name: str
    about: str
    kind: Literal["gauge", "counter"]
    suffix: str = ""
    has_created_series: bool = True
    """Whether a counter also has a family that gives the time since which it counts."""
    created: float = field(default_factory=time.time)
    values: dict[Labels, float] = field(default_factory=dict[Labels, float])

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Add an amount to the value."""
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def set(self, labels: Labels, value: float) -> None:
        """Set the value."""
        self.values[labels] = value

    def lines(self) -> Iterator[str]:
        """Yield the lines of the text."""
        name = f"{self.name}{self.suffix}"
        yield from _head(name, self.about, self.kind)
        for labels, value in self.values.items():
            yield _sample(name, labels, value)
        if self.kind == "counter" and self.has_created_series:
            yield from _created_lines(self.name, self.about, self.created, tuple(self.values))


@dataclass(slots=True)
class Summary:
    """A count and a sum of observations per set of labels."""

    name: str
    about: str
    created: float = field(default_factory=time.time)
    values: dict[Labels, tuple[int, float]] = field(default_factory=dict[Labels, tuple[int, float]])

    def observe(self, labels: Labels, value: float) -> None:
        """Record an observation."""
        count, total = self.values.get(labels, (0, 0.0))
        self.values[labels] = (count + 1, total + value)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the text."""
        yield from _head(self.name, self.about, "summary")
        for labels, (count, total) in self.values.items():
            yield _sample(f"{self.name}_count", labels, count)
            yield _sample(f"{self.name}_sum", labels, total)
        yield from _created_lines(self.name, self.about, self.created, tuple(self.values))


@dataclass(slots=True)
class _Observed:
    counts: list[int]
    total: float = 0.0
    count: int = 0


@dataclass(slots=True)
class Histogram:
    """Counts of observations per bucket and set of labels.

    Args:
        name: The family's name.
        about: The help text.
        bounds: The upper bounds of the buckets.
        labels: Default labels of an observation.
        begins_empty: Whether the default labels appear only after the first observation.
    """

    name: str
    about: str
    bounds: tuple[float, ...]
    labels: Labels | None = None
    begins_empty: bool = False
    created: float = field(default_factory=time.time)
    values: dict[Labels, _Observed] = field(default_factory=dict[Labels, _Observed])

    def __post_init__(self) -> None:
        """Add an empty series for the default labels, unless `begins_empty`."""
        if self.labels is not None and not self.begins_empty:
            self._of(self.labels)

    def observe(self, value: float, labels: Labels | None = None) -> None:
        """Record an observation under the given labels, or else the default ones."""
        observed = self._of(labels if labels is not None else self.labels or ())
        observed.counts = [
            old + (value <= bound) for old, bound in zip(observed.counts, self.bounds, strict=True)
        ]
        observed.total += value
        observed.count += 1

    def lines(self) -> Iterator[str]:
        """Yield the lines of the text."""
        yield from _head(self.name, self.about, "histogram")
        for labels, observed in self.values.items():
            for bound, count in zip(
                (*map(str, self.bounds), "+Inf"), (*observed.counts, observed.count), strict=True
            ):
                yield _sample(f"{self.name}_bucket", _with_bound(labels, bound), count)
            yield _sample(f"{self.name}_count", labels, observed.count)
            yield _sample(f"{self.name}_sum", labels, observed.total)
        yield from _created_lines(self.name, self.about, self.created, tuple(self.values))

    def _of(self, labels: Labels) -> _Observed:
        return self.values.setdefault(labels, _Observed(counts=[0] * len(self.bounds)))


def text_of(families: Sequence[MetricFamily | Summary | Histogram]) -> str:
    """Join the text of the given families."""
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _with_bound(labels: Labels, bound: str) -> Labels:
    return tuple(sorted((*labels, ("le", bound))))


def _head(name: str, about: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"


def _created_lines(name: str, about: str, created: float, series: Sequence[Labels]) -> Iterator[str]:
    if series:
        yield from _head(f"{name}_created", about, "gauge")
    for labels in series:
        yield _sample(f"{name}_created", labels, created)


def _sample(name: str, labels: Labels, value: float) -> str:
    pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{pairs}}} {float(value)}" if pairs else f"{name} {float(value)}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
