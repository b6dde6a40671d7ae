"""Count image requests and report them at /metrics in the metric families of vLLM-Omni 0.30.0."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from vllm_omni_client.simulator.http.prometheus_text import Histogram, Labels, MetricFamily, text_of

_PREFIX: Final = "vllm_omni:"
_OWN_NAMES: Final = re.compile(rf"^((?:# \w+ )?){_PREFIX}", re.MULTILINE)
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_STEP_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_UNSUITED = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The Prometheus client's default buckets for seconds; the server uses them for steps and pixels too."""


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
        counts_images: Whether image requests are counted at all.
    """

    def __init__(self, model_name: str, *, counts_images: bool = True) -> None:
        self._counts_images = counts_images
        model = (("model_name", model_name),)
        self._model: Labels = model
        self._stage: Labels = (*model, ("stage", "0"))
        replica: Labels = (*model, ("replica", "0"), ("stage", "0"))
        self._running = MetricFamily("vllm_omni:num_requests_running", "Requests that are running.", "gauge")
        self._waiting = MetricFamily("vllm_omni:num_requests_waiting", "Requests that are waiting.", "gauge")
        self._succeeded = MetricFamily(
            "vllm_omni:requests_success", "Requests by finish reason.", "counter", "_total"
        )
        self._failed = MetricFamily(
            "vllm_omni:requests_failed", "Failed requests by reason.", "counter", "_total"
        )
        self._images = MetricFamily("vllm_omni:image_count", "Images generated.", "counter", "_total")
        self._peak = MetricFamily(
            "vllm_omni:peak_memory_mb", "Peak GPU memory of the last request in MB.", "gauge"
        )
        self._stage_waiting = MetricFamily(
            "vllm_omni:stage_waiting_requests", "Requests waiting at the last output.", "gauge"
        )
        stage_type: Labels = (*self._stage, ("stage_type", "diffusion"))
        self._e2e = Histogram(
            "vllm_omni:e2e_request_latency_s", "Time from arrival to reply.", _REQUEST_SECONDS, model
        )
        self._generation = _empty_histogram("stage_gen_time_s", "Generation time.", stage_type)
        self._submit = Histogram(
            "vllm_omni:request_queue_wait_s", "Time from arrival to submission.", _REQUEST_SECONDS, model
        )
        self._queue = _empty_histogram("stage_in_queue_s", "Time in the queue.", self._stage, _STEP_SECONDS)
        self._steps = Histogram("vllm_omni:num_inference_steps", "Steps per request.", _UNSUITED, model)
        self._pixels = Histogram("vllm_omni:image_pixels", "Pixels per request.", _UNSUITED, model)
        self._exec = _empty_histogram("diffusion_exec_s", "Execution time.", replica)
        self._per_step = _empty_histogram(
            "diffusion_exec_per_step_s", "Execution time per step.", replica, _STEP_SECONDS
        )
        self._first = _empty_histogram("image_ttfp_s", "Time to the first image.", replica)
        self._before = _empty_histogram("diffusion_preprocess_s", "Preprocessing time.", replica)
        self._after = _empty_histogram("diffusion_postprocess_s", "Postprocessing time.", replica)
        self._kv_load = _empty_histogram("diffusion_kv_load_s", "Not used for images.", replica)
        self._tokens = (
            MetricFamily("vllm_omni:prompt_tokens", "Not used for images.", "counter", "_total"),
            MetricFamily("vllm_omni:generation_tokens", "Not used for images.", "counter", "_total"),
        )
        for family in (self._images, *self._tokens):
            family.set(model, 0.0)

    def count_completed(self, done: Completion) -> None:
        """Count a request that generated its images."""
        if not self._counts_images:
            return
        self._succeeded.add((("finished_reason", "stop"), *self._model))
        self._images.add(self._model, done.images)
        self._peak.set(self._stage, done.peak_memory_mib)
        self._stage_waiting.set(self._stage, 0.0)
        if done.steps_given:
            self._steps.observe(done.steps)
        self._pixels.observe(done.pixels)
        self._e2e.observe(done.total_seconds)
        self._submit.observe(max(0.0, done.total_seconds - done.queue_seconds - done.run_seconds))
        self._queue.observe(done.queue_seconds)
        for histogram in (self._before, self._after, self._kv_load):
            histogram.observe(0.0)
        for histogram in (self._generation, self._first):
            histogram.observe(done.queue_seconds + done.run_seconds)
        self._exec.observe(done.run_seconds)
        self._per_step.observe(done.run_seconds / max(1, done.steps))

    def count_failed(self, reason: Literal["stage_error", "client_disconnect"]) -> None:
        """Count a request that ended without images."""
        if not self._counts_images:
            return
        self._succeeded.add((("finished_reason", "abort"), *self._model))
        self._failed.add((*self._model, ("reason", reason)))

    def text(
        self, *, running: int, waiting: int, only: Collection[str] | None = None, prefix: str = _PREFIX
    ) -> str:
        """Return the metrics as Prometheus text, with the engine's current state.

        Args:
            running: Number of requests that are running.
            waiting: Number of requests in the queue.
            only: Names of the families to show; None: all.
            prefix: Prefix of the family names in the text.
        """
        self._running.set(self._model, running)
        self._waiting.set(self._model, waiting)
        if self._stage_waiting.values:
            self._stage_waiting.set(self._stage, waiting)
        families = self._families()
        text = text_of([each for each in families if only is None or each.name in only])
        return _OWN_NAMES.sub(rf"\g<1>{prefix}", text)

    def _families(self) -> Sequence[MetricFamily | Histogram]:
        """Return all families in the server's order."""
        return (
            *(self._running, self._waiting, self._succeeded, self._e2e, *self._tokens, self._generation),
            *(self._submit, self._stage_waiting, self._steps, self._images, self._pixels, self._peak),
            *(self._queue, self._failed, *_AUDIO_FAMILIES, self._exec, self._per_step, self._before),
            *(self._after, *_PROFILER_FAMILIES, self._kv_load, self._first, *_TRANSFER_FAMILIES),
        )


def _empty_histogram(
    name: str, about: str, labels: Labels | None = None, bounds: tuple[float, ...] = _REQUEST_SECONDS
) -> Histogram:
    """Create a histogram that shows only its header until something is observed."""
    return Histogram(f"vllm_omni:{name}", about, bounds, labels, begins_empty=True)


def _empty_counter(name: str, about: str) -> MetricFamily:
    return MetricFamily(f"vllm_omni:{name}", about, "counter", "_total")


_AUDIO_FAMILIES = (
    _empty_histogram("kv_wait_s", "Not used for images."),
    *(_empty_histogram(f"audio_{name}", "Audio only.") for name in ("ttfp_s", "duration_s", "rtf")),
    _empty_counter("audio_frames", "Audio only."),
    _empty_histogram("audio_underrun_s", "Audio only."),
    *(
        _empty_counter(name, "Audio only.")
        for name in (
            "audio_continuity_ok",
            "audio_skipped_requests",
            "speech_stream_aborted",
            "speech_stream_completed",
        )
    ),
)
_PROFILER_FAMILIES = (
    _empty_histogram("vae_decode_s", "Only with the pipeline's profiler."),
    _empty_histogram("diffusion_forward_s", "Only with the pipeline's profiler."),
)
_TRANSFER_FAMILIES = (
    _empty_histogram("denoise_step_latency_s", "Only with the pipeline's profiler."),
    *(
        _empty_histogram(f"transfer_{name}", "Between stages.")
        for name in ("size_bytes", "tx_s", "rx_s", "in_flight_s")
    ),
)
"""Families of which a server with a single image model shows only the headers."""
