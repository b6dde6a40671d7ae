"""What the tools return, as published in their output schemas; every key of the plan, and a few more."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "BatchCancelled",
    "BatchImage",
    "BatchResult",
    "BatchStatus",
    "Change",
    "GenerationEstimate",
    "GpuStatus",
    "ImageResult",
    "ModelInfo",
    "ParametersUsed",
    "Presets",
    "RecommendedParameters",
    "ServerHealth",
]


BatchStatus = Literal["success", "partial", "failed", "cancelled"]


class Result(BaseModel):
    """A frozen result."""

    model_config = ConfigDict(frozen=True)


class ParametersUsed(Result):
    """What was sent to the server."""

    model: str
    prompt: str
    negative_prompt: str | None = Field(None, description="As sent; null when the model takes none.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    steps: int
    guidance_scale: float
    seed: int


class Change(Result):
    """What became of one parameter that was not sent as it was asked for, or did not come out so."""

    parameter: str
    outcome: Literal["drawn", "changed", "dropped", "differs"]
    requested: str | int | float | None = None
    sent: str | int | float | None = None
    confirmed: str | int | float | None = Field(None, description="What the picture has.")


class ImageResult(Result):
    """One picture, saved."""

    status: Literal["success"] = "success"
    file_path: str = Field(description="Absolute path of the saved picture.")
    generation_time_seconds: float = Field(description="Queue, transfer and retries included.")
    parameters_used: ParametersUsed
    receipt: list[Change] = Field([], description="Only what was drawn, changed or dropped, or differs.")
    reused: bool = Field(default=False, description="It was there already; made earlier with this seed.")
    notes: list[str] = Field([], description="What was changed or is worth knowing.")


class BatchImage(Result):
    """One picture of a batch."""

    index: int = Field(description="Position of its prompt, from 0.")
    prompt: str
    status: Literal["success", "failed", "cancelled"]
    file_path: str | None
    generation_time_seconds: float | None
    seed: int
    reused: bool = False
    error: str | None = None


class BatchResult(Result):
    """A batch that has ended."""

    status: BatchStatus
    batch_id: str
    total_time_seconds: float
    images_generated: int
    images_failed: int
    images_cancelled: int = 0
    max_concurrent: int
    results: list[BatchImage]
    notes: list[str] = []


class BatchCancelled(Result):
    """What a cancelled batch leaves behind."""

    batch_id: str
    status: Literal["cancelled", "completed"] = Field(description="completed: it had ended before.")
    completed: int
    cancelled: int
    failed: int = 0
    files_saved: list[str]
    notes: list[str] = []


class RecommendedParameters(Result):
    """What is used where a call says nothing."""

    num_inference_steps: int
    guidance_scale: float
    default_resolution: str


class ModelInfo(Result):
    """The model that the server has loaded."""

    model_name: str
    model_type: str
    recommended_parameters: RecommendedParameters
    supports_negative_prompt: bool
    supported_aspect_ratios: dict[str, str]
    estimated_vram_gb: float | None
    in_registry: bool
    profile: str = Field(description="The profile whose settings are used.")
    resolution_multiple: int
    max_megapixels: float
    qualities: list[str] = Field([], description="Those whose settings differ from the standard ones.")
    max_input_images: int = Field(0, description="How many pictures it can edit or combine.")
    prompting: str | None = Field(None, description="How to write prompts for this model.")
    licence: str | None = Field(None, description="What its licence restricts.")
    notes: list[str] = []


class GpuStatus(Result):
    """GPU memory, as far as it can be known."""

    gpu_name: str | None
    total_vram_gb: float | None
    estimated_model_vram_gb: float | None
    estimated_free_vram_gb: float | None
    recommended_max_concurrent: int
    server_url: str
    server_status: Literal["healthy", "unhealthy", "unreachable"]
    measured_free_vram_gb: float | None = Field(
        None, description="As NVML tells it, when the server is here."
    )
    peak_memory_mb: float | None = Field(
        None, description="Peak of the last picture, measured by the server."
    )
    sources: dict[str, str] = Field(description="Where each number comes from.")
    notes: list[str] = []


class Presets(Result):
    """Sizes for the loaded model."""

    model: str
    resolution_multiple: int
    max_megapixels: float
    presets: dict[str, str]
    default_resolution: str
    notes: list[str] = []


class ServerHealth(Result):
    """Whether the vLLM-Omni server can make pictures."""

    server_url: str
    status: Literal["healthy", "unhealthy", "unreachable"]
    model_loaded: str | None
    latency_ms: int | None
    version: str | None = Field(description="vLLM's version, as the server tells it.")
    message: str | None = None


class GenerationEstimate(Result):
    """Time and memory, predicted."""

    estimated_time_per_image_seconds: float
    estimated_total_time_seconds: float
    estimated_peak_vram_gb: float | None
    recommended_concurrent: int
    resolution: str
    total_megapixels_per_image: float
    notes: str
    basis: str = Field(description="What the numbers rest on.")
