"""Report on the model, the GPU, the server, and the time and memory images would need."""

import asyncio
from typing import TYPE_CHECKING

from mcp.server.mcpserver import Context

from vllm_image_mcp.results import image_results
from vllm_image_mcp.results.tool_results import (
    GenerationEstimate,
    GpuStatus,
    ModelInfo,
    Presets,
    ServerHealth,
)
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.parameters import Height, NumImages, NumInferenceSteps, Width

if TYPE_CHECKING:
    from vllm_image_core.studio import Studio


async def get_model_info(ctx: Context[State]) -> ModelInfo:
    """Get information about the currently loaded model and its recommended parameters."""
    return image_results.model_info(await _studio(ctx).model())


async def gpu_status(ctx: Context[State]) -> GpuStatus:
    """Check GPU memory usage and how many images fit at once."""
    studio = _studio(ctx)
    return image_results.gpu_status(await studio.health(), await studio.gpu())


async def list_presets(ctx: Context[State]) -> Presets:
    """List available resolution presets and aspect ratios for the current model."""
    return image_results.presets(await _studio(ctx).model())


async def server_health(ctx: Context[State]) -> ServerHealth:
    """Check if the vLLM-Omni server is running, ready, and responsive."""
    from vllm_image_mcp.doctor.examination import find_advice  # noqa: PLC0415 - not needed at startup

    state = ctx.request_context.lifespan_context
    health, advice = await asyncio.gather(state.studio.health(), find_advice(state))
    return image_results.server_health(health, fixes=advice.fixes, folder_problem=advice.folder_problem)


async def estimate_generation(
    ctx: Context[State],
    *,
    num_images: NumImages = 1,
    width: Width = None,
    height: Height = None,
    num_inference_steps: NumInferenceSteps = None,
) -> GenerationEstimate:
    """Estimate generation time and resource usage without actually generating."""
    return image_results.generation_estimate(
        await _studio(ctx).estimate(
            num_images=1 if num_images is None else num_images,
            width=width,
            height=height,
            num_inference_steps=num_inference_steps,
        )
    )


def _studio(ctx: Context[State]) -> "Studio":  # the server starts without it
    return ctx.request_context.lifespan_context.studio
