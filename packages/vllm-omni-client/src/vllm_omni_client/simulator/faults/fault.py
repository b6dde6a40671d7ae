"""Define faults, read and write them as text, and plan which request each fault affects."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

Kind = Literal[
    "status",
    "html",
    "delay",
    "reset-before",
    "reset-in",
    "reset-after",
    "truncate",
    "trickle",
    "no-json",
    "wrong-types",
    "junk-base64",
    "wrong-size",
    "fewer",
    "black",
    "gzip-bomb",
    "out-of-memory",
    "engine-death",
    "model-swap",
]
_DEFAULT_PATH = "/v1/images/"


class Fault(BaseModel):
    """One thing that goes wrong, and the requests it affects.

    As text it is `KIND[,NAME=VALUE...][@WHEN]`, where WHEN is `3` (the third request), `2-4`, `5-` (the fifth
    and later) or `10%` (of the requests, chosen by the seed); without it every request is affected. Examples:
    `status,status=429,retry_after=2@1-3`, `reset-in@10%`, `delay,seconds=5,path=/health`.

    Raises:
        pydantic.ValidationError: A value is out of range, or a name is unknown.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    status: int | None = Field(default=None, ge=200, le=599)
    """Status code of `status` (default 503) and `html` (default 502)."""
    retry_after: str | None = None
    """Value of the header Retry-After for `status` and `html`, sent as it is; None: no such header."""
    seconds: float = Field(default=0.05, ge=0.0, allow_inf_nan=False)
    """How long `delay` waits before the reply, and `trickle` after each byte."""
    mebibytes: int = Field(default=256, ge=1, le=65536)
    """Size that a `gzip-bomb` decompresses to."""
    name: str = Field(default="another-model", min_length=1)
    """Served name after a `model-swap`."""
    path: str = _DEFAULT_PATH
    """Only requests whose path starts with this are counted."""
    first: int = Field(default=1, ge=1)
    """Number of the first request that is affected, counted from 1."""
    last: int | None = Field(default=None, ge=1)
    """Number of the last request that is affected; None: no end."""
    percent: float = Field(default=100.0, gt=0.0, le=100.0)
    """Share of the requests between `first` and `last` that are affected."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"the last request, {self.last}, comes before the first, {self.first}")
        return self

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Parse a fault from text.

        Raises:
            ValueError: The text is not a valid fault.
        """
        what, at, when = text.partition("@")
        kind, *pairs = what.split(",")
        fields = dict(_pair(pair) for pair in pairs)
        try:
            return cls.model_validate({"kind": kind.strip(), **fields, **(_when(when) if at else {})})
        except ValidationError as error:
            reasons = [": ".join([*map(str, each["loc"]), each["msg"]]) for each in error.errors()]
            raise ValueError(f"{text!r} is not a valid fault: {'; '.join(reasons)}") from error

    def __str__(self) -> str:
        return "".join(self._parts())

    def affects(self, number: int, *, chance: float) -> bool:
        """Return whether the fault affects a request.

        Args:
            number: The request's number, counted from 1.
            chance: Random number from 0 to 1, drawn for this request.
        """
        return self.first <= number <= (self.last or number) and chance * 100 < self.percent

    def _parts(self) -> Iterator[str]:
        yield self.kind
        for name in ("status", "retry_after", "seconds", "mebibytes", "name", "path"):
            if name in self.model_fields_set:
                yield f",{name}={getattr(self, name)}"
        if self.percent != 100.0:  # noqa: PLR2004 - all requests
            yield f"@{self.percent:g}%"
        elif self.first != 1 or self.last is not None:
            yield f"@{self.first}" if self.last == self.first else f"@{self.first}-{self.last or ''}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name.strip() in {"kind", "first", "last", "percent"}:
        raise ValueError(
            f"{text!r} is not an option of a fault; write options as NAME=VALUE, and WHEN after an @"
        )
    return name.strip(), value


def _when(text: str) -> Mapping[str, object]:
    if text.endswith("%"):
        return {"percent": text[:-1]}
    first, dash, last = text.partition("-")
    return {"first": first, "last": (last or None) if dash else first}


def _as_fault(value: object) -> object:
    return Fault.parse(value) if isinstance(value, str) else value


AsFault = Annotated[Fault, BeforeValidator(_as_fault)]
"""A fault, or its text form."""


@dataclass(slots=True)
class _PlannedFault:
    fault: Fault
    request_count: int = 0
    fault_count: int = 0


class FaultPlan:
    """Decide which request gets which fault; the same requests in the same order always get the same faults.

    Args:
        faults: The faults in order; if several affect a request, the first one happens.
        seed: Seed for faults with a percentage.
    """

    def __init__(self, faults: Sequence[Fault] = (), *, seed: int = 0) -> None:
        self._seed = seed
        self._planned = [_PlannedFault(fault) for fault in faults]

    def add(self, *faults: Fault | str) -> None:
        """Add faults; their count starts at the next request.

        Args:
            faults: The faults, as values or as text.

        Raises:
            ValueError: A text is not a valid fault; then none is added.
        """
        parsed = [Fault.parse(fault) if isinstance(fault, str) else fault for fault in faults]
        self._planned += [_PlannedFault(fault) for fault in parsed]

    def clear(self) -> None:
        """Remove all faults."""
        self._planned.clear()

    def counts(self) -> Mapping[str, int]:
        """Return how often each fault has happened, by its text form."""
        return {str(planned.fault): planned.fault_count for planned in self._planned}

    def next_fault(self, path: str) -> Fault | None:
        """Count a request to a path, and return the fault that affects it, if any."""
        chosen: _PlannedFault | None = None
        for place, planned in enumerate(self._planned):
            if not path.startswith(planned.fault.path):
                continue
            planned.request_count += 1
            drawn = random.Random(f"{self._seed} {place} {planned.request_count}")  # noqa: S311 - not a secret
            if chosen is None and planned.fault.affects(planned.request_count, chance=drawn.random()):
                chosen = planned
        if chosen is None:
            return None
        chosen.fault_count += 1
        return chosen.fault
