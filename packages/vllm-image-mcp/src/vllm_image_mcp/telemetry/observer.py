"""Observe the calls and images of one user, as metrics and as spans."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

if TYPE_CHECKING:
    from collections.abc import Generator

    from vllm_image_core.requests.generated_image import GeneratedImage

    from vllm_image_mcp.telemetry.metrics import Metrics

_NANOSECONDS: Final = 1_000_000_000


class Observer:
    """Observes the calls and images of one user.

    Spans go to whatever OpenTelemetry SDK is set up in this process; without one they cost next to nothing.
    They contain no prompt.

    Args:
        metrics: The metrics of the process.
        user: The user's name; "" for the only one.
    """

    def __init__(self, metrics: Metrics, user: str) -> None:
        self._metrics = metrics
        self._user = user
        self._tracer = trace.get_tracer("vllm_image_mcp")

    @contextmanager
    def call(self, operation: str) -> Generator[None]:
        """Observe a call for as long as the block runs; an exception is its error."""
        started = time.perf_counter()
        error: str | None = None
        try:
            with self._tracer.start_as_current_span(
                f"vllm_image {operation}",
                kind=SpanKind.SERVER,
                attributes={"vllm_image.operation": operation, "enduser.id": self._user},
                record_exception=False,
            ):
                yield
        except BaseException as caught:
            error = type(caught.__cause__ or caught).__name__
            raise
        finally:
            self._metrics.record_call(self._user, operation, time.perf_counter() - started, error=error)

    def record_image(self, image: GeneratedImage, *, batch_id: str, gpu_seconds: float | None) -> None:
        """Record an image that was saved, with the GPU time that it probably took."""
        cost = 0.0 if image.reused or gpu_seconds is None else gpu_seconds
        self._metrics.record_image(self._user, "reused" if image.reused else "generated", gpu_seconds=cost)
        request = image.request
        span = self._tracer.start_span(
            "vllm_image image",
            kind=SpanKind.CLIENT,
            start_time=time.time_ns() - int(image.seconds * _NANOSECONDS),
            attributes={
                "enduser.id": self._user,
                "vllm_image.batch": batch_id,
                "vllm_image.model": image.model,
                "vllm_image.width": request.size.width,
                "vllm_image.height": request.size.height,
                "vllm_image.steps": request.num_inference_steps,
                "vllm_image.seed": str(request.seed),
                "vllm_image.reused": image.reused,
                "vllm_image.gpu_seconds": cost,
            },
        )
        span.end()

    def record_failure(self, error: Exception, *, batch_id: str) -> None:
        """Record an image that failed."""
        kind = type(error).__name__
        self._metrics.record_image(self._user, "failed", error=kind)
        span = self._tracer.start_span(
            "vllm_image image",
            kind=SpanKind.CLIENT,
            attributes={"enduser.id": self._user, "vllm_image.batch": batch_id, "error.type": kind},
        )
        span.set_status(StatusCode.ERROR)
        span.end()
