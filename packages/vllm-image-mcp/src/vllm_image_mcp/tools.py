"""The tools: each is a signature, a docstring, and one call into the studio."""

import secrets
from typing import Annotated

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ToolAnnotations
from vllm_image_core.request import ImageRequest

from vllm_image_mcp import answers, batch_answers, found, previews
from vllm_image_mcp.checks import found_at_once
from vllm_image_mcp.dates import begin_of, end_of
from vllm_image_mcp.order import ordered
from vllm_image_mcp.parameters import (
    AspectRatio,
    BatchId,
    Filename,
    FindLimit,
    FindModel,
    FindOffset,
    FindSeed,
    FindText,
    GuidanceScale,
    Height,
    MaxConcurrent,
    NegativePrompt,
    NumImages,
    NumInferenceSteps,
    OutputFormat,
    Prompt,
    Prompts,
    Quality,
    Seed,
    Seeds,
    Since,
    Sweep,
    Until,
    Width,
)
from vllm_image_mcp.reply import reply
from vllm_image_mcp.results import (
    BatchCancelled,
    BatchResult,
    FoundImages,
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
    output_format: OutputFormat = None,
) -> Annotated[CallToolResult, ImageResult]:
    """Generate one image from a text prompt and save it as a file.

    Returns a preview, the file's path, a link to the full picture, the seed and the parameters used. Takes
    about a second on distilled models, up to minutes on others; estimate_generation tells. For several
    images, or to compare settings, use batch_generate.
    """
    state = _state(ctx)
    image = await state.studio.generate(
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
        output_format=output_format,
    )
    folder = state.studio.output_dir
    return await reply(
        answers.image_result(image, notes=state.notes, folder=folder),
        state.settings,
        links=[answers.link_to(image, folder=folder)],
        drawing=previews.one_picture(image.path),
    )


async def batch_generate(
    ctx: Context[State],
    *,
    prompts: Prompts,
    negative_prompt: NegativePrompt = None,
    width: Width = None,
    height: Height = None,
    aspect_ratio: AspectRatio = None,
    num_inference_steps: NumInferenceSteps = None,
    guidance_scale: GuidanceScale = None,
    seeds: Seeds = None,
    quality: Quality = None,
    sweep: Sweep = None,
    max_concurrent: MaxConcurrent = None,
) -> Annotated[CallToolResult, BatchResult]:
    """Generate up to 20 images, several at a time: one per prompt, or one prompt with a sweep of settings.

    Returns each image's path and seed once all have ended, and a contact sheet numbered by index (a labelled
    grid for a sweep). One failure does not stop the others. Progress messages carry the batch_id from the
    first one on; cancel_batch takes it.
    """
    state = _state(ctx)
    shared = ImageRequest(
        prompt="",
        negative_prompt=negative_prompt,
        width=width,
        height=height,
        aspect_ratio=aspect_ratio,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        quality=quality,
    )
    requests = ordered(prompts, seeds, sweep, shared=shared, draw_seed=_drawn_seed)
    batch = await state.studio.batch(requests, max_concurrent=max_concurrent)
    total = len(requests)
    async with batch:
        await ctx.report_progress(0, total, f"{batch.id}: 0 of {total}, {batch.at_once} at a time")
        ended = 0
        async for _ in batch:
            ended += 1
            await ctx.report_progress(
                ended, total, f"{batch.id}: {ended} of {total}, {len(batch.errors)} failed"
            )
    folder = state.studio.output_dir
    return await reply(
        batch_answers.batch_result(
            batch, notes=state.notes, server_url=state.studio.server_url, folder=folder
        ),
        state.settings,
        links=batch_answers.links_of(batch, folder=folder),
        drawing=previews.sheet(batch_answers.shown_of(batch)) if batch.images else None,
    )


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
    return batch_answers.batch_cancelled(await _state(ctx).studio.cancel_batch(batch_id))


async def find_images(
    ctx: Context[State],
    *,
    text: FindText = None,
    model: FindModel = None,
    seed: FindSeed = None,
    since: Since = None,
    until: Until = None,
    limit: FindLimit = 10,
    offset: FindOffset = 0,
) -> Annotated[CallToolResult, FoundImages]:
    """Find images made earlier, newest first, with a contact sheet and the parameters that make each again.

    Answers at once; without arguments it lists the latest. Pass an image's parameters to generate_image.
    """
    state = _state(ctx)
    page = await state.studio.find(
        text,
        model=model,
        seed=seed,
        since=begin_of("since", since),
        until=end_of("until", until),
        limit=found_at_once(limit),
        offset=offset,
    )
    folder = state.studio.output_dir
    return await reply(
        found.found_images(page, folder=folder),
        state.settings,
        links=found.found_links(page, folder=folder),
        drawing=previews.sheet(found.shown_found(page)) if page.pictures else None,
    )


def _drawn_seed() -> int:
    return secrets.randbelow(2**32)


def _state(ctx: Context[State]) -> State:
    return ctx.request_context.lifespan_context


_READS = ToolAnnotations(read_only_hint=True)

TOOLS = (
    (generate_image, ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)),
    (batch_generate, ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False)),
    (get_model_info, _READS),
    (gpu_status, _READS),
    (list_presets, _READS),
    (server_health, _READS),
    (estimate_generation, _READS),
    (cancel_batch, ToolAnnotations(read_only_hint=False, destructive_hint=True)),
    (find_images, _READS),
)
"""Every tool with its annotations, in the order in which hosts list them."""
