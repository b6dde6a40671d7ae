"""The tools: each is a signature, a docstring, and one call into the studio."""

from typing import Annotated

from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, Resolve
from mcp.types import CallToolResult, ToolAnnotations
from vllm_image_core.requests.image_request import ImageRequest

from vllm_image_mcp.results import image_results
from vllm_image_mcp.results.tool_results import (
    BatchCancelled,
    BatchList,
    BatchReport,
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
from vllm_image_mcp.tools.consent import Consent, consent
from vllm_image_mcp.tools.edit import edit_image
from vllm_image_mcp.tools.parameters import (
    USUALLY_FOUND,
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
    MaxWait,
    NegativePrompt,
    NumImages,
    NumInferenceSteps,
    OutputFormat,
    Prompt,
    Prompts,
    Quality,
    Resume,
    Seed,
    Seeds,
    Since,
    Sweep,
    Until,
    Wait,
    Width,
)

__all__ = ["TITLES", "TOOLS"]


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
    max_wait: MaxWait = None,
) -> Annotated[CallToolResult, ImageResult]:
    """Generate one image from a text prompt and save it as a file.

    Returns a preview, the file's path, a link to the full picture, the seed and the parameters used. Takes
    about a second on distilled models, up to minutes on others: after max_wait it answers status "running"
    with a batch_id for get_batch, which waits on. Several images, or to compare settings: batch_generate.
    """
    request = ImageRequest(
        prompt=prompt,
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
    return await _calls().generate(ctx, request, max_wait=max_wait)


async def batch_generate(
    ctx: Context[State],
    *,
    agreed: Annotated[ElicitationResult[Consent], Resolve(consent)],
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
    max_wait: MaxWait = None,
) -> Annotated[CallToolResult, BatchResult]:
    """Generate up to 20 images, several at a time: one per prompt, or one prompt with a sweep of settings.

    Returns each image's path and seed, and a contact sheet numbered by index (a labelled grid for a sweep).
    One failure does not stop the others. What takes longer than max_wait goes on: get_batch waits on with
    the batch_id, cancel_batch stops it.
    """
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
    return await _calls().many_made(
        ctx,
        _calls().expand_requests(prompts, seeds, sweep, shared=shared),
        agreed=agreed.action == "accept" and agreed.data.go_on,
        max_concurrent=max_concurrent,
        max_wait=max_wait,
    )


async def get_model_info(ctx: Context[State]) -> ModelInfo:
    """Tell which model is loaded, its recommended parameters, and the aspect ratios it supports."""
    return image_results.model_info(await _state(ctx).studio.model())


async def gpu_status(ctx: Context[State]) -> GpuStatus:
    """Tell the GPU's memory, how many images fit at once, and where each number comes from."""
    studio = _state(ctx).studio
    return image_results.gpu_status(await studio.health(), await studio.gpu())


async def list_presets(ctx: Context[State]) -> Presets:
    """List the loaded model's aspect ratios with their sizes in pixels, and its limits."""
    return image_results.presets(await _state(ctx).studio.model())


async def server_health(ctx: Context[State]) -> ServerHealth:
    """Check whether the vLLM-Omni server runs, has a model loaded, and how fast it answers."""
    return image_results.server_health(await _state(ctx).studio.health())


async def estimate_generation(
    ctx: Context[State],
    *,
    num_images: NumImages = 1,
    width: Width = None,
    height: Height = None,
    num_inference_steps: NumInferenceSteps = None,
) -> GenerationEstimate:
    """Predict the time and GPU memory of images without generating them."""
    return image_results.generation_estimate(
        await _state(ctx).studio.estimate(
            num_images=1 if num_images is None else num_images,
            width=width,
            height=height,
            num_inference_steps=num_inference_steps,
        )
    )


async def cancel_batch(ctx: Context[State], batch_id: BatchId) -> Annotated[CallToolResult, BatchCancelled]:
    """Cancel a running batch and tell which images there are: those that are done are kept."""
    return await _calls().batch_cancelled(ctx, batch_id)


async def get_batch(
    ctx: Context[State],
    batch_id: BatchId,
    *,
    wait: Wait = True,
    resume: Resume = False,
    max_wait: MaxWait = None,
) -> Annotated[CallToolResult, BatchReport]:
    """Tell how a batch of images stands, also after a restart, and wait for the rest of it.

    Returns what batch_generate returns. While status is "running", call it again; "interrupted" and "stopped"
    need resume=true, which makes only what is missing.
    """
    return await _calls().batch_got(ctx, batch_id, wait=wait, resume=resume, max_wait=max_wait)


async def list_batches(ctx: Context[State]) -> Annotated[CallToolResult, BatchList]:
    """List the batches that run or were cut off, and the last 20, newest first; get_batch tells more."""
    return await _calls().batches_listed(ctx)


async def find_images(
    ctx: Context[State],
    *,
    text: FindText = None,
    model: FindModel = None,
    seed: FindSeed = None,
    since: Since = None,
    until: Until = None,
    limit: FindLimit = USUALLY_FOUND,
    offset: FindOffset = 0,
) -> Annotated[CallToolResult, FoundImages]:
    """Find images made earlier, newest first, with a contact sheet and the parameters that make each again.

    Answers at once; without arguments it lists the latest. Pass an image's parameters to its tool.
    """
    return await _calls().images_found(
        ctx, text=text, model=model, seed=seed, since=since, until=until, limit=limit, offset=offset
    )


def _calls():  # noqa: ANN202 - the module's own type
    from vllm_image_mcp.tools import calls  # noqa: PLC0415 - a server that starts needs none of it

    return calls


def _state(ctx: Context[State]) -> State:
    return ctx.request_context.lifespan_context


def _annotations(
    *, reads: bool = False, destroys: bool | None = None, repeats: bool | None = None
) -> ToolAnnotations:
    """A tool's annotations; none of the tools reaches beyond the one server and the output folder."""
    return ToolAnnotations(
        read_only_hint=reads, destructive_hint=destroys, idempotent_hint=repeats, open_world_hint=False
    )


_READS = _annotations(reads=True)

TOOLS = (
    (generate_image, _annotations(destroys=False, repeats=True)),
    (batch_generate, _annotations(destroys=False, repeats=False)),
    (edit_image, _annotations(destroys=False, repeats=False)),
    (get_model_info, _READS),
    (gpu_status, _READS),
    (list_presets, _READS),
    (server_health, _READS),
    (estimate_generation, _READS),
    (cancel_batch, _annotations(destroys=True)),
    (get_batch, _annotations(destroys=False)),
    (list_batches, _READS),
    (find_images, _READS),
)
"""Every tool with its annotations, in the order in which hosts list them."""

TITLES = {
    "generate_image": "Generate an image",
    "batch_generate": "Generate several images",
    "edit_image": "Edit an image",
    "get_model_info": "Show the loaded model",
    "gpu_status": "Show GPU memory",
    "list_presets": "List image sizes",
    "server_health": "Check the image server",
    "estimate_generation": "Estimate time and memory",
    "cancel_batch": "Cancel a batch",
    "get_batch": "Check on a batch",
    "list_batches": "List batches",
    "find_images": "Find earlier images",
}
"""What hosts show a person in place of a tool's name."""
