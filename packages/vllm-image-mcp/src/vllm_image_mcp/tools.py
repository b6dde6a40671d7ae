"""The tools: each is a signature, a docstring, and one call into the studio."""

from mcp.server.mcpserver import Context
from mcp.types import ToolAnnotations
from vllm_image_core.request import ImageRequest

from vllm_image_mcp import answers, checks
from vllm_image_mcp.edit_tool import edit_image
from vllm_image_mcp.parameters import (
    AspectRatio,
    BatchId,
    Filename,
    GuidanceScale,
    Height,
    MaxConcurrent,
    NegativePrompt,
    NumImages,
    NumInferenceSteps,
    Prompt,
    Prompts,
    Quality,
    Seed,
    Seeds,
    Width,
)
from vllm_image_mcp.results import (
    BatchCancelled,
    BatchResult,
    GenerationEstimate,
    GpuStatus,
    ImageResult,
    ModelInfo,
    Presets,
    ServerHealth,
)
from vllm_image_mcp.state import State

__all__ = ["TOOLS"]


async def generate_image(
    ctx: Context[State],
    *,
    prompt: Prompt,
    negative_prompt: NegativePrompt = None,
    width: Width = None,
    height: Height = None,
    aspect_ratio: AspectRatio = None,
    num_inference_steps: NumInferenceSteps = None,
    guidance_scale: GuidanceScale = None,
    seed: Seed = None,
    filename: Filename = None,
    quality: Quality = None,
) -> ImageResult:
    """Generate one image from a text prompt and save it as a file.

    Returns the file's path, the seed and the parameters used. Takes about a second on distilled models, up to
    a minute on others: ask estimate_generation first for large sizes. For several images use batch_generate.
    """
    image = await _state(ctx).studio.generate(
        prompt,
        negative_prompt=negative_prompt,
        width=width,
        height=height,
        aspect_ratio=aspect_ratio,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        seed=seed,
        filename=filename,
        quality=quality,
    )
    return answers.image_result(image, notes=_state(ctx).notes)


async def batch_generate(
    ctx: Context[State],
    *,
    prompts: Prompts,
    width: Width = None,
    height: Height = None,
    aspect_ratio: AspectRatio = None,
    num_inference_steps: NumInferenceSteps = None,
    guidance_scale: GuidanceScale = None,
    seeds: Seeds = None,
    max_concurrent: MaxConcurrent = None,
) -> BatchResult:
    """Generate up to 20 images, one per prompt, several at a time.

    Returns each image's path and seed once all have ended; one failure does not stop the others. Progress
    messages carry the batch_id from the first one on; cancel_batch takes it.
    """
    texts, drawn = checks.prompts_with_seeds(prompts, seeds)
    requests = [
        ImageRequest(
            prompt=prompt,
            width=width,
            height=height,
            aspect_ratio=aspect_ratio,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
        )
        for prompt, seed in zip(texts, drawn, strict=True)
    ]
    batch = await _state(ctx).studio.batch(requests, max_concurrent=max_concurrent)
    total = len(requests)
    async with batch:
        await ctx.report_progress(0, total, f"{batch.id}: 0 of {total}, {batch.at_once} at a time")
        ended = 0
        async for _ in batch:
            ended += 1
            await ctx.report_progress(
                ended, total, f"{batch.id}: {ended} of {total}, {len(batch.errors)} failed"
            )
    return answers.batch_result(batch, notes=_state(ctx).notes, server_url=_state(ctx).studio.server_url)


async def get_model_info(ctx: Context[State]) -> ModelInfo:
    """Tell which model is loaded, its recommended parameters, and the aspect ratios it supports."""
    return answers.model_info(await _state(ctx).studio.model())


async def gpu_status(ctx: Context[State]) -> GpuStatus:
    """Tell the GPU's memory, how many images fit at once, and where each number comes from."""
    studio = _state(ctx).studio
    return answers.gpu_status(await studio.health(), await studio.gpu())


async def list_presets(ctx: Context[State]) -> Presets:
    """List the loaded model's aspect ratios with their sizes in pixels, and its limits."""
    return answers.presets(await _state(ctx).studio.model())


async def server_health(ctx: Context[State]) -> ServerHealth:
    """Check whether the vLLM-Omni server runs, has a model loaded, and how fast it answers."""
    return answers.server_health(await _state(ctx).studio.health())


async def estimate_generation(
    ctx: Context[State],
    *,
    num_images: NumImages = 1,
    width: Width = None,
    height: Height = None,
    num_inference_steps: NumInferenceSteps = None,
) -> GenerationEstimate:
    """Predict the time and GPU memory of images without generating them."""
    return answers.generation_estimate(
        await _state(ctx).studio.estimate(
            num_images=num_images, width=width, height=height, num_inference_steps=num_inference_steps
        )
    )


async def cancel_batch(ctx: Context[State], batch_id: BatchId) -> BatchCancelled:
    """Cancel a running batch. Images that are done are kept; a running one may still finish on the GPU."""
    return answers.batch_cancelled(await _state(ctx).studio.cancel_batch(batch_id))


def _state(ctx: Context[State]) -> State:
    return ctx.request_context.lifespan_context


_READS = ToolAnnotations(read_only_hint=True)

TOOLS = (
    (generate_image, ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)),
    (batch_generate, ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False)),
    (edit_image, ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)),
    (get_model_info, _READS),
    (gpu_status, _READS),
    (list_presets, _READS),
    (server_health, _READS),
    (estimate_generation, _READS),
    (cancel_batch, ToolAnnotations(read_only_hint=False, destructive_hint=True)),
)
"""Every tool with its annotations, in the order in which hosts list them."""
