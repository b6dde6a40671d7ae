"""GPU report: describe the server's GPU and its memory, with the source of each number."""

from collections.abc import Mapping
from dataclasses import dataclass

from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.estimation.estimator import gb_per_image, misfit, model_gb, recommended_concurrency
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.models.profile import Profile

_NOT_REPORTED = "unknown: the server does not report it, and it was not configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU as configured or read from the driver; a vLLM-Omni server reports nothing about its GPU."""

    name: str | None = None
    total_vram_gb: float | None = None
    """Total memory of the GPU, in GB."""
    free_vram_gb: float | None = None
    """Memory that was free when the GPU was read, in GB."""
    source: str = _NOT_REPORTED
    """Where the description comes from."""

    def completed_by(self, other: "Gpu | None") -> "Gpu":
        """This description, with missing values from another one."""
        if other is None:
            return self
        if self.name is None and self.total_vram_gb is None:
            return other
        return Gpu(
            name=self.name or other.name,
            total_vram_gb=self.total_vram_gb or other.total_vram_gb,
            free_vram_gb=other.free_vram_gb if self.total_vram_gb is None else None,
            source=self.source
            if self.total_vram_gb and self.name
            else f"{self.source}; the rest: {other.source}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport(Displayed):
    """GPU memory in GB, and the source of each number; None if unknown."""

    name: str | None
    total_vram_gb: float | None
    model_vram_gb: float | None
    free_vram_gb: float | None
    """Total minus the model, at least 0."""
    measured_free_vram_gb: float | None
    """Free memory as the driver reports it, whatever uses the rest."""
    recommended_concurrent: int
    peak_memory_mb: float | None
    """Highest memory reserved during the server's latest image, in MiB."""
    sources: Mapping[str, str]
    misfit: str | None = None
    """Why the model does not fit on the GPU; None if it fits, or if that is unknown."""

    def _card(self) -> Card:
        return Card(
            title=f"GPU: {self.name or 'unknown'}",
            facts={
                "total": _gb(self.total_vram_gb),
                "model": _gb(self.model_vram_gb),
                "free": _gb(self.measured_free_vram_gb or self.free_vram_gb),
                "recommended requests at once": self.recommended_concurrent,
            },
            notes=(self.misfit,) if self.misfit else (),
        )


def _gb(amount: float | None) -> str | None:
    return None if amount is None else f"{amount:.1f} GB"


def report(
    gpu: Gpu,
    profile: Profile | None,
    *,
    peak_memory_mb: float | None = None,
    predictor: Predictor | None = None,
) -> GpuReport:
    """Report a GPU's memory with a model on it; no number is made up, and none is negative.

    There is no profile if the server does not answer; `peak_memory_mb` comes from its ``/metrics``, in MiB.
    """
    measured = predictor if predictor is not None and predictor.peaks else None
    needed = model_gb(profile, measured) if profile else None
    needed = None if needed is None else round(needed, 1)
    total = gpu.total_vram_gb
    free = None if total is None or needed is None else round(max(0.0, total - needed), 1)
    return GpuReport(
        name=gpu.name,
        total_vram_gb=gpu.total_vram_gb,
        model_vram_gb=needed,
        free_vram_gb=free,
        measured_free_vram_gb=gpu.free_vram_gb,
        recommended_concurrent=recommended_concurrency(gpu.total_vram_gb, profile, measured)
        if profile
        else 1,
        peak_memory_mb=peak_memory_mb,
        sources={
            **_sources(gpu, profile, free=free, peak_memory_mb=peak_memory_mb),
            "recommended_max_concurrent": _concurrency_source(profile, free, measured),
            **(
                {"estimated_model_vram_gb": f"{measured.memory_basis}, without the image"} if measured else {}
            ),
        },
        misfit=misfit(profile, gpu.total_vram_gb, measured) if profile else None,
    )


def _sources(
    gpu: Gpu, profile: Profile | None, *, free: float | None, peak_memory_mb: float | None
) -> dict[str, str]:
    return {
        "gpu_name": gpu.source if gpu.name else _NOT_REPORTED,
        "total_vram_gb": gpu.source if gpu.total_vram_gb is not None else _NOT_REPORTED,
        "estimated_model_vram_gb": _model_source(profile),
        "estimated_free_vram_gb": "total minus the model's estimate"
        if free is not None
        else "unknown: needs the total",
        "measured_free_vram_gb": "unknown: read only from a GPU in this machine, if none was configured"
        if gpu.free_vram_gb is None
        else gpu.source,
        "peak_memory_mb": _peak_source(peak_memory_mb, profile),
    }


def _model_source(profile: Profile | None) -> str:
    if profile is None:
        return "unknown: the server does not answer, so its model is not known"
    if profile.estimated_vram_gb is None:
        return "unknown: the model has no profile"
    return f"profile of {profile.model}: {profile.sources['estimated_vram_gb']}"


def _concurrency_source(profile: Profile | None, free: float | None, measured: Predictor | None) -> str:
    if profile is None or free is None:
        return "1, because the free memory is unknown"
    each = round(gb_per_image(profile, measured), 1)
    return f"estimated free memory / {each:g} GB per image, at least 1, at most 4"


def _peak_source(peak_memory_mb: float | None, profile: Profile | None) -> str:
    if peak_memory_mb is None and profile is None:
        return "unknown: the server does not answer"
    if peak_memory_mb is None:
        return "unknown: not in the server's /metrics yet"
    return "measured by the server (/metrics) during its latest image"
