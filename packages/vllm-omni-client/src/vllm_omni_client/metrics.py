"""Parse the counters of a server's `/metrics` page that are useful to a client.

The names are those of vLLM-Omni 0.30.0 (`vllm_omni/metrics/definitions.py`); 0.14 and 0.20 have none
of them, so all their metrics are None.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_PREFIX: Final = "vllm_omni:"
# One line of the Prometheus text format: name, labels (quoted values may hold any character), value, time.
_SAMPLE: Final = re.compile(
    r"(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)"
    r"(?:\{(?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*\})?"
    r"[ \t]+(?P<value>[^ \t\r]+)(?:[ \t]+-?[0-9]+)?[ \t\r]*"
)
# float() accepts more than the format does, such as "1_000".
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMetrics:
    """A server's counters; each one is None if the server does not report it.

    Attributes:
        requests_running: Requests running now, over all stages.
        requests_waiting: Requests in the queue now, over all stages.
        requests_succeeded: Since the server started.
        requests_failed: Since the server started, including requests that clients cancelled.
        images: Images generated since the server started.
        peak_memory_mb: Peak memory reserved by torch during the last request, over all stages, in MiB.
        mean_request_seconds: From arrival to reply, mean since the server started.
        mean_queue_wait_seconds: Mean since the server started.
        mean_step_seconds: One denoising step, mean since the server started; if the server does not time
            single steps, the execution time divided by the number of steps.
    """

    requests_running: int | None = None
    requests_waiting: int | None = None
    requests_succeeded: int | None = None
    requests_failed: int | None = None
    images: int | None = None
    peak_memory_mb: float | None = None
    mean_request_seconds: float | None = None
    mean_queue_wait_seconds: float | None = None
    mean_step_seconds: float | None = None


def parse(text: str) -> ServerMetrics:
    """Parse the Prometheus text format; unreadable lines are skipped, never an error."""
    samples: defaultdict[str, list[float]] = defaultdict(list)
    for name, value in _samples(text):
        samples[name].append(value)
    return ServerMetrics(
        requests_running=_count(samples, "num_requests_running"),
        requests_waiting=_count(samples, "num_requests_waiting"),
        requests_succeeded=_count(samples, "requests_success_total"),
        requests_failed=_count(samples, "requests_failed_total"),
        images=_count(samples, "image_count_total"),
        peak_memory_mb=_fold(samples, "peak_memory_mb", max),
        mean_request_seconds=_mean(samples, "e2e_request_latency_s"),
        mean_queue_wait_seconds=_mean(samples, "request_queue_wait_s"),
        mean_step_seconds=_mean(samples, "denoise_step_latency_s", "diffusion_exec_per_step_s"),
    )


def _samples(text: str) -> Iterator[tuple[str, float]]:
    """Yield the finite samples of vLLM-Omni's own metrics, without their labels."""
    for line in text.split("\n"):
        sample = _SAMPLE.fullmatch(line) if line.startswith(_PREFIX) else None
        if sample and _NUMBER.fullmatch(sample["value"]) and math.isfinite(value := float(sample["value"])):
            yield sample["name"].removeprefix(_PREFIX), value


def _fold(
    samples: Mapping[str, list[float]], name: str, fold: Callable[[Iterable[float]], float]
) -> float | None:
    values = samples.get(name)
    return fold(values) if values else None


def _count(samples: Mapping[str, list[float]], name: str) -> int | None:
    total = _fold(samples, name, math.fsum)
    return None if total is None or total < 0 else int(total)


def _mean(samples: Mapping[str, list[float]], *names: str) -> float | None:
    """Return the mean of the first of several metrics that has counted anything."""
    for name in names:
        total = _fold(samples, f"{name}_sum", math.fsum)
        count = _fold(samples, f"{name}_count", math.fsum)
        if total is not None and count:
            return total / count
    return None
