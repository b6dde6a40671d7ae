"""Declare what the tools return, as published in their output schemas."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema
from vllm_image_core.requests.fields import PLAIN_FIELDS

BatchStatus = Literal[
    "success", "partial", "failed", "cancelled", "running", "paused", "interrupted", "stopped", "dry_run"
]
StatusAsText = Annotated[BatchStatus, WithJsonSchema({"type": "string"})]
"""The same without the list of values, which the schema of batch_generate already has."""


Scalar = Annotated[
    str | int | float | None,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}),
]
Parameters = Annotated[dict[str, object], WithJsonSchema({"type": "object"})]


def _only(*names: str) -> Callable[[dict[str, Any]], None]:
    """Keep only some properties in a schema: another tool's schema describes the others."""

    def shorten(schema: dict[str, Any]) -> None:
        schema["properties"] = {name: schema["properties"][name] for name in names}
        if required := [name for name in schema.pop("required", []) if name in names]:
            schema["required"] = required

    return shorten


def _with_plain_fields(schema: dict[str, Any]) -> None:
    """Add the request fields that have no property of their own to the schema of the parameters used."""
    del schema["additionalProperties"]
    shown = [each for each in PLAIN_FIELDS if "generate_image" in each.shown_in and each.kind != "object"]
    schema["properties"] |= {each.name: TypeAdapter[Any](each.type).json_schema() for each in shown}


class Result(BaseModel):
    """A frozen result."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)


class ParametersUsed(Result):
    """What was sent to the server."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", json_schema_extra=_with_plain_fields)

    model: str
    prompt: str
    negative_prompt: str | None = None
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int


class Change(Result):
    """One parameter that was not sent, or not confirmed by the server, as requested."""

    parameter: str
    outcome: Literal["drawn", "changed", "dropped", "differs"]
    requested: Scalar = None
    sent: Scalar = None
    confirmed: Scalar = None


ImageStatus = Literal["success", "running", "paused", "cancelled", "interrupted"]


class ImageResult(Result):
    """One image: saved, or still being generated, in which case it has a batch_id but no file."""

    status: ImageStatus = "success"
    file_path: str | None = None
    generation_time_seconds: float | None = None
    parameters_used: ParametersUsed | None = None
    batch_id: str | None = None
    uri: str | None = None
    receipt: Annotated[
        list[Change],
        WithJsonSchema(
            {"type": "array", "items": {"type": "object"}, "description": "What was not sent as requested."}
        ),
    ] = []
    reused: bool = Field(default=False, description="It already existed.")
    seconds_left: float | None = None
    notes: list[str] = []


class EditResult(ImageResult):
    """One edited image; its schema omits what the schema of generate_image already describes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra=_only("status", "file_path", "batch_id", "notes", "inputs")
    )

    status: Annotated[
        ImageStatus,
        WithJsonSchema({"type": "string", "description": "This and the rest as in generate_image."}),
    ] = "success"
    inputs: list[str] = Field(default=[], description="File names of the input images.")


class BatchImage(Result):
    """One image of a batch."""

    index: int
    prompt: str
    status: Literal["success", "failed", "cancelled", "running", "waiting"]
    file_path: str | None
    generation_time_seconds: float | None
    seed: int | None
    uri: str | None = None
    parameters: Parameters = Field({}, description="Those not shared.")
    reused: bool = False
    server: str | None = Field(None, description="URL of its server.")
    error: str | None = None


class BatchResult(Result):
    """The state of a batch and its images."""

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
    """The same from get_batch; its schema omits most of what the schema of batch_generate describes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra=_only("status", "batch_id", "images_generated", "images_left", "results", "notes")
    )

    status: Annotated[
        BatchStatus,
        WithJsonSchema({"type": "string", "description": "This and the rest as in batch_generate."}),
    ]
    results: Annotated[
        list[BatchImage],
        WithJsonSchema({"type": "array", "items": {"type": "object"}}),
    ]


class BatchEntry(Result):
    """One batch in a list."""

    batch_id: str
    status: StatusAsText
    created: str
    prompt: str = Field(description="The first prompt.")
    images_total: int | None
    images_generated: int
    images_failed: int
    images_left: int
    here: bool = Field(description="This server runs it.")


class BatchList(Result):
    """Batches of the output folder, newest first."""

    batches: list[BatchEntry]
    notes: list[str] = []


class FoundImage(Result):
    """One image of the output folder."""

    file_path: str
    uri: str
    created: str
    size: str
    tool: Literal["generate_image", "edit_image"] = "generate_image"
    parameters: Annotated[dict[str, object], WithJsonSchema({"type": "object"})] = Field(
        description="Arguments for that tool."
    )
    model: str | None
    batch_id: str | None
    kept: bool = False
    stars: int | None = None
    tag: str | None = None


class FoundImages(Result):
    """Images of the output folder, newest first."""

    images: list[FoundImage]
    next_offset: int | None = None
    notes: list[str] = []


class RatedFiles(Result):
    """Images that were kept, rejected, rated, tagged or exported."""

    file_paths: list[str]
    exported: list[str] = []
    notes: list[str] = []


class BatchCancellation(Result):
    """What was saved by a batch that was cancelled or had already ended."""

    batch_id: str
    status: Literal["cancelled", "completed"]
    completed: int
    cancelled: int
    failed: int = 0
    files_saved: list[str]
    notes: list[str] = []


class RecommendedParameters(Result):
    """The settings used for parameters that a call omits."""

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
                "description": "text_to_image; edit: max_images, mask, strength, layers, or null.",
            }
        ),
    ]
    prompting: str | None = None
    licence: str | None = None
    loras: list[str] = []
    notes: list[str] = []


class GpuStatus(Result):
    """GPU memory, as far as it is known."""

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
    """Whether the vLLM-Omni server can generate images."""

    server_url: str
    status: Literal["healthy", "unhealthy", "unreachable"]
    model_loaded: str | None
    latency_ms: int | None
    version: str | None
    message: str | None = None
    notes: list[str] = []
    servers: list[FleetServer] = Field([], description="If there are several.")


class GenerationEstimate(Result):
    """Predicted time and memory."""

    estimated_time_per_image_seconds: float
    estimated_total_time_seconds: float
    estimated_peak_vram_gb: float | None
    recommended_concurrent: int
    resolution: str
    total_megapixels_per_image: float
    notes: str
    basis: str
