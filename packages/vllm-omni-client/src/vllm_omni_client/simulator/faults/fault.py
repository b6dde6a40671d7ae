"""A fault: what goes wrong with a reply, and with which requests; a value that can be written as text."""

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
    """One thing that goes wrong.

    As text it is `KIND[,NAME=VALUE...][@WHEN]`, where WHEN is `3` (the third request), `2-4`, `5-` (from the
    fifth on) or `10%` (of the requests, chosen by the seed); without it every request is met. Examples:
    `status,status=429,retry_after=2@1-3`, `reset-in@10%`, `delay,seconds=5,path=/health`.

    Raises:
        pydantic.ValidationError: A value is out of its range, or a name is unknown.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    status: int | None = Field(default=None, ge=200, le=599)
    """Of `status` (503) and `html` (502)."""
    retry_after: str | None = None
    """The header Retry-After of `status` and `html`, whatever it says; None: no such header."""
    seconds: float = Field(default=0.05, ge=0.0, allow_inf_nan=False)
    """Of `delay`: before the reply; of `trickle`: after each byte."""
    mebibytes: int = Field(default=256, ge=1, le=65536)
    """What a `gzip-bomb` unpacks to."""
    name: str = Field(default="another-model", min_length=1)
    """Of the model after a `model-swap`."""
    path: str = _DEFAULT_PATH
    """How the paths of the requests begin that count."""
    first: int = Field(default=1, ge=1)
    """The number of the first request that is met, counted from 1."""
    last: int | None = Field(default=None, ge=1)
    """The number of the last one; None: there is none."""
    percent: float = Field(default=100.0, gt=0.0, le=100.0)
    """How many of the requests between first and last."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"it ends with request {self.last}, before it begins with {self.first}")
        return self

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """The fault that a text describes.

        Raises:
            ValueError: It describes none.
        """
        what, at, when = text.partition("@")
        kind, *pairs = what.split(",")
        fields = dict(_pair(pair) for pair in pairs)
        try:
            return cls.model_validate({"kind": kind.strip(), **fields, **(_when(when) if at else {})})
        except ValidationError as error:
            reasons = [": ".join([*map(str, each["loc"]), each["msg"]]) for each in error.errors()]
            raise ValueError(f"{text!r} is no fault: {'; '.join(reasons)}") from error

    def __str__(self) -> str:
        return "".join(self._parts())

    def meets(self, number: int, *, chance: float) -> bool:
        """Whether it happens to a request.

        Args:
            number: Of the request, counted from 1.
            chance: From 0 to 1, drawn for this request.
        """
        return self.first <= number <= (self.last or number) and chance * 100 < self.percent

    def _parts(self) -> Iterator[str]:
        yield self.kind
        for name in ("status", "retry_after", "seconds", "mebibytes", "name", "path"):
            if name in self.model_fields_set:
                yield f",{name}={getattr(self, name)}"
        if self.percent != 100.0:  # noqa: PLR2004 - all of them
            yield f"@{self.percent:g}%"
        elif self.first != 1 or self.last is not None:
            yield f"@{self.first}" if self.last == self.first else f"@{self.first}-{self.last or ''}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name.strip() in {"kind", "first", "last", "percent"}:
        raise ValueError(
            f"{text!r} is no option of a fault: write NAME=VALUE, and when it happens after an @"
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
"""A fault, or the text of one."""


@dataclass(slots=True)
class _Armed:
    fault: Fault
    counted: int = 0
    met: int = 0


class FaultPlan:
    """Which request meets which fault; the same requests in the same order meet the same.

    Args:
        faults: In order: of several that meet a request the first one happens.
        seed: Decides on what is left to chance.
    """

    def __init__(self, faults: Sequence[Fault] = (), *, seed: int = 0) -> None:
        self._seed = seed
        self._armed = [_Armed(fault) for fault in faults]

    def add(self, *faults: Fault | str) -> None:
        """Let more go wrong, counted from the next request.

        Args:
            faults: As values or as text.

        Raises:
            ValueError: A text describes no fault.
        """
        parsed = [Fault.parse(fault) if isinstance(fault, str) else fault for fault in faults]
        self._armed += [_Armed(fault) for fault in parsed]

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._armed.clear()

    def counts(self) -> Mapping[str, int]:
        """How often each fault has happened, by its text."""
        return {str(armed.fault): armed.met for armed in self._armed}

    def meet(self, path: str) -> Fault | None:
        """Count a request to a path, and tell what goes wrong with it."""
        happening: _Armed | None = None
        for place, armed in enumerate(self._armed):
            if not path.startswith(armed.fault.path):
                continue
            armed.counted += 1
            drawn = random.Random(f"{self._seed} {place} {armed.counted}")  # noqa: S311 - chance, no secret
            if happening is None and armed.fault.meets(armed.counted, chance=drawn.random()):
                happening = armed
        if happening is None:
            return None
        happening.met += 1
        return happening.fault
