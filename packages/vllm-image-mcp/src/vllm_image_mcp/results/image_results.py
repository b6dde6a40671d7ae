"""Build the results of the tools for single images, the model, the GPU, the server and estimates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_image_core.requests.fields import plain_values
from vllm_image_core.text import one_line, path_text

from vllm_image_mcp.error_messages import diagnosis, explain, notes_for_model, with_program_names
from vllm_image_mcp.results.links import picture_uri
from vllm_image_mcp.results.parameters_used import LONGEST_PROMPT, shorten
from vllm_image_mcp.results.tool_results import (
    Change,
    EditAbilities,
    EditResult,
    FleetServer,
    GenerationEstimate,
    GpuStatus,
    ImageResult,
    ModelInfo,
    ParametersUsed,
    Presets,
    RecommendedParameters,
    ServerHealth,
    Tasks,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.estimation.estimator import Estimate
    from vllm_image_core.estimation.gpu import GpuReport
    from vllm_image_core.fleet.health import Health
    from vllm_image_core.models.profile import Profile
    from vllm_image_core.models.served import ServedModel
    from vllm_image_core.requests.generated_image import GeneratedImage
    from vllm_image_core.requests.receipt import Line

_SIZE_OF_EDITS = (
    "These sizes suit the images that it edits. edit_image itself takes no size: the result has the size of "
    "the first image."
)
_CUT = f"The prompt is cut to {LONGEST_PROMPT} characters in this result; it was sent in full."


def image_result(image: GeneratedImage, *, batch_id: str, notes: Sequence[str], folder: Path) -> ImageResult:
    """The result for a saved image, with the server's own notes; an edit names its input images."""
    from vllm_image_core.requests.edit_resolver import ResolvedEdit  # noqa: PLC0415 - the server starts without it

    sent = image.request
    is_cut = max(len(sent.prompt), len(sent.negative_prompt or "")) > LONGEST_PROMPT
    result = ImageResult(
        batch_id=batch_id,
        uri=picture_uri(image.path, folder=folder),
        file_path=path_text(image.path),
        generation_time_seconds=round(image.seconds, 3),
        parameters_used=ParametersUsed(
            model=image.model,
            prompt=shorten(sent.prompt),
            negative_prompt=sent.negative_prompt and shorten(sent.negative_prompt),
            width=sent.width,
            height=sent.height,
            steps=sent.num_inference_steps,
            guidance_scale=sent.guidance_scale,
            seed=sent.seed,
            **plain_values(sent),
        ),
        receipt=[_change(line) for line in image.receipt.notable_lines],
        reused=image.reused,
        notes=[*notes, *notes_for_model(image.notes), *([_CUT] if is_cut else [])],
    )
    if not isinstance(sent, ResolvedEdit):
        return result
    return EditResult(**dict(result), inputs=[one.name or role for role, one in sent.inputs.by_role])


def unfinished_image(
    batch: ImageBatch, *, inputs: Sequence[str] | None, over: bool, notes: Sequence[str]
) -> ImageResult:
    """The result for the only image of a batch, which is not finished, or has ended because it was abandoned.

    The inputs are the names of an edit's input images; None for text-to-image.
    """
    if over:
        status = "cancelled" if batch.cancelled else "interrupted"
        tool = "generate_image" if inputs is None else "edit_image"
        next_step = f"Call {tool} again if it is still wanted."
    else:
        status = "paused" if batch.cause else "running"
        next_step = "The image is still being generated: get_batch with this batch_id waits for it."
    result = ImageResult(
        status=status,
        batch_id=batch.id,
        receipt=[],
        seconds_left=None if over else seconds_left(batch),
        notes=[*notes, *([with_program_names(batch.cause)] if batch.cause else []), next_step],
    )
    return result if inputs is None else EditResult(**dict(result), inputs=list(inputs))


def seconds_left(batch: ImageBatch) -> float | None:
    """Seconds left for a running batch; None if unknown, or if it should have ended by now."""
    seconds = batch.eta.seconds
    return round(seconds, 1) or None if seconds is not None else None


def _change(line: Line) -> Change:
    """One line of the receipt, without its reason, which is in the notes."""
    return Change.model_validate(
        {
            "parameter": line.parameter,
            "outcome": line.outcome,
            "requested": one_line(line.requested) if isinstance(line.requested, str) else line.requested,
            "sent": line.sent,
            "confirmed": line.confirmed,
        }
    )


def model_info(model: ServedModel) -> ModelInfo:
    """The result of get_model_info."""
    profile = model.profile
    rules = profile.edit_rules
    edit = EditAbilities(
        max_images=profile.max_input_images,
        mask=rules.mask,
        strength="with_mask" if rules.strength == "with_mask_or_reference" else rules.strength == "read",
        layers=rules.default_layers,
    )
    return ModelInfo(
        model_name=model.match.name,
        model_type=profile.type,
        recommended_parameters=RecommendedParameters(
            num_inference_steps=profile.default_steps,
            guidance_scale=profile.default_guidance_scale,
            default_resolution=str(profile.default_size),
        ),
        supports_negative_prompt=profile.supports_negative_prompt,
        supported_aspect_ratios=_sizes(profile),
        estimated_vram_gb=profile.estimated_vram_gb,
        in_registry=model.match.in_registry,
        profile=profile.model,
        resolution_multiple=profile.resolution_multiple,
        max_megapixels=profile.max_resolution_mp,
        qualities=list(profile.quality),
        max_input_images=profile.max_input_images,
        tasks=Tasks(text_to_image=profile.text_to_image, edit=edit if profile.max_input_images else None),
        prompting=profile.prompting,
        licence=profile.licence,
        loras=list(profile.loras),
        notes=[*_edits_only(profile), *_warnings(model)],
    )


def _edits_only(profile: Profile) -> list[str]:
    """The note on a model that cannot generate images from text alone."""
    if profile.text_to_image:
        return []
    many = "1 image" if profile.max_input_images == 1 else f"1 to {profile.max_input_images} images"
    return [
        f"{profile.model} only edits: call edit_image with {many}. generate_image and batch_generate fail."
    ]


def presets(model: ServedModel) -> Presets:
    """The result of list_presets."""
    profile = model.profile
    limits = (
        f"Width and height must be multiples of {profile.resolution_multiple}, "
        f"with at most {profile.max_resolution_mp:g} megapixels together."
    )
    of_edits = [] if profile.text_to_image else [_SIZE_OF_EDITS]
    return Presets(
        model=model.match.name,
        resolution_multiple=profile.resolution_multiple,
        max_megapixels=profile.max_resolution_mp,
        presets=_sizes(profile),
        default_resolution=str(profile.default_size),
        notes=[limits, *_edits_only(profile), *of_edits, *_warnings(model)],
    )


def _sizes(profile: Profile) -> dict[str, str]:
    return {ratio: str(size) for ratio, size in profile.supported_aspect_ratios.items()}


def _warnings(model: ServedModel) -> list[str]:
    return [text.replace("name it with `model`", "name it with --model") for text in model.warnings]


def gpu_status(health: Health, report: GpuReport) -> GpuStatus:
    """The result of gpu_status."""
    return GpuStatus(
        gpu_name=report.name,
        total_vram_gb=report.total_vram_gb,
        estimated_model_vram_gb=report.model_vram_gb,
        estimated_free_vram_gb=report.free_vram_gb,
        recommended_max_concurrent=report.recommended_concurrent,
        server_url=health.server_url,
        server_status=health.status,
        measured_free_vram_gb=report.measured_free_vram_gb,
        peak_memory_mb=report.peak_memory_mb,
        sources=dict(report.sources),
        notes=[
            *([explain(health.error, server_url=health.server_url)] if health.error else []),
            *([report.misfit] if report.misfit else []),
        ],
    )


def server_health(
    health: Health, *, fixes: Mapping[str, str] | None = None, folder_problem: str | None = None
) -> ServerHealth:
    """The result of server_health.

    Args:
        health: The health of the servers.
        fixes: What to do about a server that cannot be reached, by its URL.
        folder_problem: Why images cannot be saved, with its fix; None if they can.
    """
    fixes = fixes or {}
    message = " ".join(filter(None, (_health_message(health, fixes), folder_problem)))
    return ServerHealth(
        server_url=health.server_url,
        status=health.status,
        model_loaded=health.model,
        latency_ms=None if health.latency_seconds is None else max(1, round(health.latency_seconds * 1000)),
        version=health.version,
        message=message or None,
        servers=[
            FleetServer(
                server_url=each.server_url,
                status=each.status,
                model_loaded=each.model,
                message=diagnosis(each, fix=fixes.get(each.server_url)),
            )
            for each in health.servers
        ],
    )


def _health_message(health: Health, fixes: Mapping[str, str]) -> str | None:
    """Why the server cannot generate images, or which of several servers cannot."""
    ill = [each for each in health.servers if each.status != "healthy"]
    if health.status != "healthy" or not ill:
        return diagnosis(health, fix=fixes.get(health.server_url))
    who = ", ".join(f"{each.server_url} ({each.status})" for each in ill)
    return (
        f"{len(ill)} of {len(health.servers)} servers cannot generate images: {who}. "
        "The others still work; `servers` has the reasons."
    )


def generation_estimate(estimate: Estimate) -> GenerationEstimate:
    """The result of estimate_generation."""
    return GenerationEstimate(
        estimated_time_per_image_seconds=round(estimate.seconds_per_image, 2),
        estimated_total_time_seconds=round(estimate.total_seconds, 2),
        estimated_peak_vram_gb=None if estimate.peak_vram_gb is None else round(estimate.peak_vram_gb, 1),
        recommended_concurrent=estimate.recommended_concurrent,
        resolution=str(estimate.size),
        total_megapixels_per_image=round(estimate.size.megapixels, 2),
        notes=" ".join(estimate.notes),
        basis=estimate.basis,
    )
