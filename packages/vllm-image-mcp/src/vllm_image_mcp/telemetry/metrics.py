"""Count calls, images, GPU seconds, waits, reuse and errors, and write them in the format of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from vllm_image_core.fleet.fair_queue import FairQueue

ImageOutcome = Literal["generated", "reused", "failed"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500)


class Metrics:
    """The metrics of one process. Times are in seconds, and a user is given by name, "" for the only one."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._calls = Counter(
            "vllm_image_calls",
            "Calls of tools and of the OpenAI images API.",
            ("user", "operation", "outcome"),
            registry=self._registry,
        )
        self._call_seconds = Histogram(
            "vllm_image_call_seconds",
            "How long calls took.",
            ("operation",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._images = Counter(
            "vllm_image_images",
            "Images by outcome: generated, reused or failed.",
            ("user", "outcome"),
            registry=self._registry,
        )
        self._gpu_seconds = Counter(
            "vllm_image_gpu_seconds",
            "Estimated time for which generated images kept a GPU busy.",
            ("user",),
            registry=self._registry,
        )
        self._waits = Histogram(
            "vllm_image_wait_seconds",
            "How long images waited for their user's turn at the servers.",
            ("user",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._errors = Counter(
            "vllm_image_errors",
            "Errors of calls and of images, by class.",
            ("where", "error"),
            registry=self._registry,
        )

    def watch(self, queue: FairQueue) -> None:
        """Report how many images wait for their turn and are in progress, and measure the waits."""
        waiting = Gauge("vllm_image_waiting", "Images that wait for a turn.", registry=self._registry)
        in_progress = Gauge("vllm_image_in_progress", "Images in progress.", registry=self._registry)
        waiting.set_function(lambda: queue.waiting)
        in_progress.set_function(lambda: queue.in_progress)
        queue.on_turn = self.record_wait

    def record_call(self, user: str, operation: str, seconds: float, *, error: str | None) -> None:
        """Count a call that has ended, with the class of its error; None for none."""
        self._calls.labels(user, operation, "error" if error else "success").inc()
        self._call_seconds.labels(operation).observe(seconds)
        if error is not None:
            self._errors.labels("call", error).inc()

    def record_image(
        self, user: str, outcome: ImageOutcome, *, gpu_seconds: float = 0.0, error: str | None = None
    ) -> None:
        """Count an image that has ended, with the GPU time that it took or the class of its error."""
        self._images.labels(user, outcome).inc()
        if gpu_seconds:
            self._gpu_seconds.labels(user).inc(gpu_seconds)
        if error is not None:
            self._errors.labels("image", error).inc()

    def record_wait(self, user: str, seconds: float) -> None:
        """Record how long a user's image waited for its turn."""
        self._waits.labels(user).observe(seconds)

    def page(self) -> bytes:
        """Return all metrics in the text format of Prometheus; `CONTENT_TYPE` is its type."""
        return generate_latest(self._registry)
