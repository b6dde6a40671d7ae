"""Count image requests and report them at /metrics in the metric families of vLLM-Omni 0.30.0."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vllm_omni_client.simulator.http.release import Release

_MODEL: Final = ("model_name",)
_STAGE: Final = ("model_name", "stage")
_REPLICA: Final = ("model_name", "stage", "replica")
_REQUEST_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_STEP_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_UNUSED: Final = "Not used for images."
_PROFILER: Final = "Only with the pipeline's profiler."
_FAMILIES: Final = (
    ("gauge", "num_requests_running", "Requests that are running.", _MODEL, ()),
    ("gauge", "num_requests_waiting", "Requests that are waiting.", _MODEL, ()),
    ("counter", "requests_success", "Requests by finish reason.", (*_MODEL, "finished_reason"), ()),
    ("histogram", "e2e_request_latency_s", "Time from arrival to reply.", _MODEL, _REQUEST_SECONDS),
    ("counter", "prompt_tokens", _UNUSED, _MODEL, ()),
    ("counter", "generation_tokens", _UNUSED, _MODEL, ()),
    ("histogram", "stage_gen_time_s", "Generation time.", (*_STAGE, "stage_type"), _REQUEST_SECONDS),
    ("histogram", "request_queue_wait_s", "Time from arrival to submission.", _MODEL, _REQUEST_SECONDS),
    ("gauge", "stage_waiting_requests", "Requests waiting at the last output.", _STAGE, ()),
    ("histogram", "num_inference_steps", "Steps per request.", _MODEL, Histogram.DEFAULT_BUCKETS),
    ("counter", "image_count", "Images generated.", _MODEL, ()),
    ("histogram", "image_pixels", "Pixels per request.", _MODEL, Histogram.DEFAULT_BUCKETS),
    ("gauge", "peak_memory_mb", "Peak GPU memory of the last request in MB.", _STAGE, ()),
    ("histogram", "stage_in_queue_s", "Time in the queue.", _STAGE, _STEP_SECONDS),
    ("counter", "requests_failed", "Failed requests by reason.", (*_MODEL, "reason"), ()),
    ("histogram", "kv_wait_s", _UNUSED, _REPLICA, _REQUEST_SECONDS),
    ("histogram", "audio_ttfp_s", _UNUSED, _REPLICA, _REQUEST_SECONDS),
    ("histogram", "audio_duration_s", _UNUSED, _REPLICA, _REQUEST_SECONDS),
    ("histogram", "audio_rtf", _UNUSED, _REPLICA, _REQUEST_SECONDS),
    ("counter", "audio_frames", _UNUSED, _REPLICA, ()),
    ("histogram", "audio_underrun_s", _UNUSED, _REPLICA, _STEP_SECONDS),
    ("counter", "audio_continuity_ok", _UNUSED, _REPLICA, ()),
    ("counter", "audio_skipped_requests", _UNUSED, _REPLICA, ()),
    ("counter", "speech_stream_aborted", _UNUSED, _REPLICA, ()),
    ("counter", "speech_stream_completed", _UNUSED, _REPLICA, ()),
    ("histogram", "diffusion_exec_s", "Execution time.", _REPLICA, _REQUEST_SECONDS),
    ("histogram", "diffusion_exec_per_step_s", "Execution time per step.", _REPLICA, _STEP_SECONDS),
    ("histogram", "diffusion_preprocess_s", "Preprocessing time.", _REPLICA, _STEP_SECONDS),
    ("histogram", "diffusion_postprocess_s", "Postprocessing time.", _REPLICA, _STEP_SECONDS),
    ("histogram", "vae_decode_s", _PROFILER, _REPLICA, _REQUEST_SECONDS),
    ("histogram", "diffusion_forward_s", _PROFILER, _REPLICA, _REQUEST_SECONDS),
    ("histogram", "diffusion_kv_load_s", _UNUSED, _REPLICA, _STEP_SECONDS),
    ("histogram", "image_ttfp_s", "Time to the first image.", _REPLICA, _REQUEST_SECONDS),
    ("histogram", "denoise_step_latency_s", _PROFILER, _REPLICA, _STEP_SECONDS),
    ("histogram", "transfer_size_bytes", "Between stages.", _REPLICA, _REQUEST_SECONDS),
    ("histogram", "transfer_tx_s", "Between stages.", _REPLICA, _REQUEST_SECONDS),
    ("histogram", "transfer_rx_s", "Between stages.", _REPLICA, _REQUEST_SECONDS),
    ("histogram", "transfer_in_flight_s", "Between stages.", _REPLICA, _REQUEST_SECONDS),
)
"""Kind, name, help, labels and buckets of each family, in the server's order.

A family labelled with the model alone has its series from the start; others get one with their first value.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What is counted for a request that generated its images; times in seconds."""

    images: int
    pixels: int
    steps: int
    steps_given: bool
    queue_seconds: float
    run_seconds: float
    total_seconds: float
    peak_memory_mib: float


class Metrics:
    """The metrics of the server's engine since it started.

    Args:
        model_name: The model, whatever names it is served under; a label of every family.
        registry: Where the families of the release are registered.
        release: The release whose families and names to use.
        running: Returns how many requests are running.
        waiting: Returns how many are in the queue.
    """

    def __init__(
        self,
        model_name: str,
        *,
        registry: CollectorRegistry,
        release: Release,
        running: Callable[[], float],
        waiting: Callable[[], float],
    ) -> None:
        self._counts_images = release.counts_images
        self._waiting = waiting
        self._labels = {"model_name": model_name, "stage": "0", "replica": "0", "stage_type": "diffusion"}
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for kind, name, about, labels, buckets in _FAMILIES:
            shown = release.omni_metrics is None or f"vllm_omni:{name}" in release.omni_metrics
            where = registry if release.exports_metrics and shown else None
            full = release.metrics_prefix + name
            if kind == "gauge":
                family = self._gauges[name] = Gauge(full, about, labels, registry=where)
            elif kind == "counter":
                family = self._counters[name] = Counter(full, about, labels, registry=where)
            else:
                family = self._histograms[name] = Histogram(
                    full, about, labels, registry=where, buckets=buckets
                )
            if labels == _MODEL:
                family.labels(model_name)
        self._gauge("num_requests_running").set_function(running)
        self._gauge("num_requests_waiting").set_function(waiting)

    def count_completed(self, done: Completion) -> None:
        """Count a request that generated its images."""
        if not self._counts_images:
            return
        self._increment("requests_success", finished_reason="stop")
        self._increment("image_count", done.images)
        self._gauge("peak_memory_mb").set(done.peak_memory_mib)
        self._gauge("stage_waiting_requests").set_function(self._waiting)
        if done.steps_given:
            self._observe(done.steps, "num_inference_steps")
        self._observe(done.pixels, "image_pixels")
        self._observe(done.total_seconds, "e2e_request_latency_s")
        submit_seconds = done.total_seconds - done.queue_seconds - done.run_seconds
        self._observe(max(0.0, submit_seconds), "request_queue_wait_s")
        self._observe(done.queue_seconds, "stage_in_queue_s")
        self._observe(0.0, "diffusion_preprocess_s", "diffusion_postprocess_s", "diffusion_kv_load_s")
        self._observe(done.queue_seconds + done.run_seconds, "stage_gen_time_s", "image_ttfp_s")
        self._observe(done.run_seconds, "diffusion_exec_s")
        self._observe(done.run_seconds / max(1, done.steps), "diffusion_exec_per_step_s")

    def count_failed(self, reason: Literal["stage_error", "client_disconnect"]) -> None:
        """Count a request that ended without images."""
        if not self._counts_images:
            return
        self._increment("requests_success", finished_reason="abort")
        self._increment("requests_failed", reason=reason)

    def _gauge(self, name: str) -> Gauge:
        return self._gauges[name].labels(**self._labels_of(name))

    def _increment(self, name: str, amount: float = 1.0, **labels: str) -> None:
        self._counters[name].labels(**self._labels_of(name), **labels).inc(amount)

    def _observe(self, value: float, *names: str) -> None:
        for name in names:
            self._histograms[name].labels(**self._labels_of(name)).observe(value)

    def _labels_of(self, name: str) -> dict[str, str]:
        labels = next(family[3] for family in _FAMILIES if family[1] == name)
        return {label: self._labels[label] for label in labels if label in self._labels}
