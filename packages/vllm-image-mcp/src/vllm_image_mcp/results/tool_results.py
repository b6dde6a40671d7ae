"""What the tools return, as published in their output schemas; every key of the plan, and a few more."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

__all__ = [
    "BatchCancellation",
    "BatchEntry",
    "BatchImage",
    "BatchList",
    "BatchReport",
    "BatchResult",
    "BatchStatus",
    "Change",
    "EditAbilities",
    "EditResult",
    "FoundImage",
    "FoundImages",
    "GenerationEstimate",
    "GpuStatus",
    "ImageResult",
    "ModelInfo",
    "ParametersUsed",
    "Presets",
    "RecommendedParameters",
    "ServerHealth",
    "Tasks",
]


BatchStatus = Literal[
    "success", "partial", "failed", "cancelled", "running", "paused", "interrupted", "stopped"
]
StatusAsTold = Annotated[BatchStatus, WithJsonSchema({"type": "string"})]
"""The same where the schema of batch_generate has the words already."""


Scalar = Annotated[
    str | int | float | None,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}),
]
Parameters = Annotated[dict[str, str | int | float], WithJsonSchema({"type": "object"})]


def _only(*names: str) -> Callable[[dict[str, Any]], None]:
    """A schema with some of its properties: the others are those of another tool, whose schema has them."""

    def shorten(schema: dict[str, Any]) -> None:
        schema["properties"] = {name: schema["properties"][name] for name in names}
        if required := [name for name in schema.pop("required", []) if name in names]:
            schema["required"] = required

    return shorten


class Result(BaseModel):
    """A frozen result."""

    model_config = ConfigDict(frozen=True)


class ParametersUsed(Result):
    """What was sent to the server."""

    model: str
    prompt: str
    negative_prompt: str | None = None
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int


class Change(Result):
    """What became of one parameter that was not sent as it was asked for, or did not come out so."""

    parameter: str
    outcome: Literal["drawn", "changed", "dropped", "differs"]
    requested: Scalar = None
    sent: Scalar = None
    confirmed: Scalar = None


ImageStatus = Literal["success", "running", "paused", "cancelled", "interrupted"]


class ImageResult(Result):
    """One picture, saved, or still being made: then it has a batch_id and no file."""

    status: ImageStatus = "success"
    file_path: str | None = None
    generation_time_seconds: float | None = None
    parameters_used: ParametersUsed | None = None
    batch_id: str | None = None
    uri: str | None = None
    receipt: Annotated[
        list[Change],
        WithJsonSchema(
            {"type": "array", "items": {"type": "object"}, "description": "What was not sent as asked."}
        ),
    ] = []
    reused: bool = Field(default=False, description="Made earlier.")
    seconds_left: float | None = None
    notes: list[str] = []


class EditResult(ImageResult):
    """One edited picture, likewise; its schema leaves what is the same to that of generate_image."""

    model_config = ConfigDict(json_schema_extra=_only("status", "file_path", "batch_id", "notes", "inputs"))

    status: Annotated[
        ImageStatus,
        WithJsonSchema({"type": "string", "description": "This and more as in generate_image."}),
    ] = "success"
    inputs: list[str] = Field(default=[], description="File names of the pictures that it was made of.")


class BatchImage(Result):
    """One picture of a batch."""

    index: int
    prompt: str
    status: Literal["success", "failed", "cancelled", "running", "waiting"]
    file_path: str | None
    generation_time_seconds: float | None
    seed: int | None
    uri: str | None = None
    parameters: Parameters = Field({}, description="Where it differs from the others.")
    reused: bool = False
    server: str | None = Field(None, description="The URL of the server that made it.")
    error: str | None = None


class BatchResult(Result):
    """A batch as it stands."""

    status: BatchStatus
    batch_id: str
    total_time_seconds: float
    images_generated: int
    images_failed: int
    images_cancelled: int = 0
    images_left: int = 0
    seconds_left: float | None = None
    max_concurrent: int | None
    model: str | None = None
    parameters: Parameters = Field({}, description="Shared by all.")
    results: list[BatchImage]
    notes: list[str] = []


class BatchReport(BatchResult):
    """The same from get_batch, whose schema leaves most of it to that of batch_generate."""

    model_config = ConfigDict(
        json_schema_extra=_only("status", "batch_id", "images_generated", "images_left", "results", "notes")
    )

    status: Annotated[
        BatchStatus,
        WithJsonSchema({"type": "string", "description": "This and more as in batch_generate."}),
    ]
    results: Annotated[
        list[BatchImage],
        WithJsonSchema({"type": "array", "items": {"type": "object"}}),
    ]


class BatchEntry(Result):
    """One batch of a list."""

    batch_id: str
    status: StatusAsTold
    created: str
    prompt: str = Field(description="Its first.")
    images_total: int | None
    images_generated: int
    images_failed: int
    images_left: int
    here: bool = Field(description="This server works on it.")


class BatchList(Result):
    """Batches of the output folder, newest first."""

    batches: list[BatchEntry]
    notes: list[str] = []


class FoundImage(Result):
    """One picture of the output folder."""

    file_path: str
    uri: str
    created: str
    size: str
    tool: Literal["generate_image", "edit_image"] = "generate_image"
    parameters: Annotated[dict[str, str | int | float | list[str]], WithJsonSchema({"type": "object"})] = (
        Field(description="For that tool.")
    )
    model: str | None
    batch_id: str | None


class FoundImages(Result):
    """Pictures of the output folder, newest first."""

    images: list[FoundImage]
    next_offset: int | None = None
    notes: list[str] = []


class BatchCancellation(Result):
    """What a cancelled batch leaves behind."""

    batch_id: str
    status: Literal["cancelled", "completed"]
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


class EditAbilities(Result):
    """What edit_image can do with the loaded model."""

    max_images: int
    mask: bool
    strength: bool | Literal["with_mask"]
    layers: int | None


class Tasks(Result):
    """What the loaded model can do."""

    text_to_image: bool
    edit: EditAbilities | None


class ModelInfo(Result):
    """The model that the server has loaded."""

    model_name: str
    model_type: str
    recommended_parameters: RecommendedParameters
    supports_negative_prompt: bool
    supported_aspect_ratios: dict[str, str]
    estimated_vram_gb: float | None
    in_registry: bool
    profile: str
    resolution_multiple: int
    max_megapixels: float
    qualities: list[str] = []
    max_input_images: int = 0
    tasks: Annotated[
        Tasks,
        WithJsonSchema(
            {
                "type": "object",
                "description": "text_to_image; edit: max_images, mask, strength, layers; null if none.",
            }
        ),
    ]
    prompting: str | None = None
    licence: str | None = None
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
    measured_free_vram_gb: float | None = None
    peak_memory_mb: float | None = None
    sources: dict[str, str]
    notes: list[str] = []


class Presets(Result):
    """Sizes for the loaded model."""

    model: str
    resolution_multiple: int
    max_megapixels: float
    presets: dict[str, str]
    default_resolution: str
    notes: list[str] = []


class FleetServer(Result):
    """One of several servers that are used as one."""

    server_url: str
    status: Literal["healthy", "unhealthy", "unreachable"]
    model_loaded: str | None = None
    message: str | None = None


class ServerHealth(Result):
    """Whether the vLLM-Omni server can make pictures."""

    server_url: str
    status: Literal["healthy", "unhealthy", "unreachable"]
    model_loaded: str | None
    latency_ms: int | None
    version: str | None
    message: str | None = None
    notes: list[str] = []
    servers: list[FleetServer] = Field([], description="Each of several servers.")


class GenerationEstimate(Result):
    """Time and memory, predicted."""

    estimated_time_per_image_seconds: float
    estimated_total_time_seconds: float
    estimated_peak_vram_gb: float | None
    recommended_concurrent: int
    resolution: str
    total_megapixels_per_image: float
    notes: str
    basis: str
