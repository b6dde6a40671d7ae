"""The counters behind /metrics, in the families of vLLM-Omni 0.30.0, as Prometheus text."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_STEP_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_UNSUITED = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The server keeps the Prometheus client's buckets for seconds also where it counts steps and pixels."""

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Family:
    name: str
    about: str
    kind: Literal["gauge", "counter"]
    suffix: str = ""
    born: float = field(default_factory=time.time)
    values: dict[Labels, float] = field(default_factory=dict[Labels, float])

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def set(self, labels: Labels, value: float) -> None:
        self.values[labels] = value

    def lines(self) -> Iterator[str]:
        name = f"vllm_omni:{self.name}{self.suffix}"
        yield from _head(name, self.about, self.kind)
        for labels, value in self.values.items():
            yield _sample(name, labels, value)
        if self.kind == "counter":
            yield from _created(self.name, self.about, self.born, tuple(self.values))


@dataclass(slots=True)
class _Histogram:
    name: str
    about: str
    bounds: tuple[float, ...]
    labels: Labels
    born: float = field(default_factory=time.time)
    counts: list[int] = field(default_factory=list[int])
    total: float = 0.0
    count: int = 0

    def observe(self, value: float) -> None:
        self.counts = self.counts or [0] * len(self.bounds)
        self.counts = [old + (value <= bound) for old, bound in zip(self.counts, self.bounds, strict=True)]
        self.total += value
        self.count += 1

    def lines(self) -> Iterator[str]:
        name = f"vllm_omni:{self.name}"
        yield from _head(name, self.about, "histogram")
        counts = self.counts or [0] * len(self.bounds)
        for bound, count in zip((*map(str, self.bounds), "+Inf"), (*counts, self.count), strict=True):
            yield _sample(f"{name}_bucket", (("le", bound), *self.labels), count)
        yield _sample(f"{name}_count", self.labels, self.count)
        yield _sample(f"{name}_sum", self.labels, self.total)
        yield from _created(self.name, self.about, self.born, (self.labels,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What is counted of a request that made its pictures; times in seconds."""

    images: int
    pixels: int
    steps: int
    steps_given: bool
    queue_seconds: float
    run_seconds: float
    total_seconds: float
    peak_memory_mib: float


class Telemetry:
    """What a server has done since it started.

    Args:
        model_name: The first served name: the label of every family.
    """

    def __init__(self, model_name: str) -> None:
        model = (("model_name", model_name),)
        self._model: Labels = model
        self._stage: Labels = (*model, ("stage", "0"))
        replica: Labels = (*model, ("replica", "0"), ("stage", "0"))
        self._running = _Family("num_requests_running", "Requests that run.", "gauge")
        self._waiting = _Family("num_requests_waiting", "Requests that wait for their turn.", "gauge")
        self._succeeded = _Family("requests_success", "Requests by how they ended.", "counter", "_total")
        self._failed = _Family("requests_failed", "Failed requests by reason.", "counter", "_total")
        self._images = _Family("image_count", "Pictures made.", "counter", "_total")
        self._peak = _Family("peak_memory_mb", "The last request's peak of GPU memory in MB.", "gauge")
        self._stage_waiting = _Family(
            "stage_waiting_requests", "Requests that waited at the last output.", "gauge"
        )
        stage_type: Labels = (*self._stage, ("stage_type", "diffusion"))
        self._e2e = _Histogram("e2e_request_latency_s", "From arrival to reply.", _REQUEST_SECONDS, model)
        self._generation = _Histogram("stage_gen_time_s", "Generation.", _REQUEST_SECONDS, stage_type)
        self._submit = _Histogram(
            "request_queue_wait_s", "From arrival to submission.", _REQUEST_SECONDS, model
        )
        self._queue = _Histogram("stage_in_queue_s", "Waiting for a turn.", _STEP_SECONDS, self._stage)
        self._steps = _Histogram("num_inference_steps", "Steps per request.", _UNSUITED, model)
        self._pixels = _Histogram("image_pixels", "Pixels per request.", _UNSUITED, model)
        self._exec = _Histogram("diffusion_exec_s", "Execution.", _REQUEST_SECONDS, replica)
        self._per_step = _Histogram(
            "diffusion_exec_per_step_s", "Execution of a step.", _STEP_SECONDS, replica
        )
        self._first = _Histogram("image_ttfp_s", "To the first picture.", _REQUEST_SECONDS, replica)
        self._images.set(model, 0.0)

    def completed(self, done: Completion) -> None:
        """Count a request that made its pictures."""
        self._succeeded.add((("finished_reason", "stop"), *self._model))
        self._images.add(self._model, done.images)
        self._peak.set(self._stage, done.peak_memory_mib)
        if done.steps_given:
            self._steps.observe(done.steps)
        self._pixels.observe(done.pixels)
        self._e2e.observe(done.total_seconds)
        self._submit.observe(max(0.0, done.total_seconds - done.queue_seconds - done.run_seconds))
        self._queue.observe(done.queue_seconds)
        for histogram in (self._generation, self._first):
            histogram.observe(done.queue_seconds + done.run_seconds)
        self._exec.observe(done.run_seconds)
        self._per_step.observe(done.run_seconds / max(1, done.steps))

    def failed(self, reason: Literal["stage_error", "client_disconnect"]) -> None:
        """Count a request that ended without pictures."""
        self._succeeded.add((("finished_reason", "abort"), *self._model))
        self._failed.add((*self._model, ("reason", reason)))

    def text(self, *, running: int, waiting: int) -> str:
        """The exposition, with the engine's present state."""
        self._running.set(self._model, running)
        self._waiting.set(self._model, waiting)
        self._stage_waiting.set(self._stage, waiting)
        return "".join(f"{line}\n" for family in self._families() for line in family.lines())

    def _families(self) -> Sequence[_Family | _Histogram]:
        return (
            *(self._running, self._waiting, self._succeeded, self._e2e, self._generation, self._submit),
            *(self._stage_waiting, self._steps, self._images, self._pixels, self._peak, self._queue),
            *(self._failed, self._exec, self._per_step, self._first),
        )


def _head(name: str, about: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"


def _created(name: str, about: str, born: float, series: Sequence[Labels]) -> Iterator[str]:
    if series:
        yield from _head(f"vllm_omni:{name}_created", about, "gauge")
    for labels in series:
        yield _sample(f"vllm_omni:{name}_created", labels, born)


def _sample(name: str, labels: Labels, value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{pairs}}} {float(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
