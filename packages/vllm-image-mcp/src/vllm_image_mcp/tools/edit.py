"""The tool edit_image: its parameters, its result, and one call into the studio."""

from typing import Annotated, Final, cast

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import Field, SkipValidation
from vllm_image_core.errors import InvalidRequest

from vllm_image_mcp.results.tool_results import EditResult
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.parameters import (
    Filename,
    GuidanceScale,
    MaxWait,
    NegativePrompt,
    NumInferenceSteps,
    Quality,
    Seed,
)

__all__ = ["MOST_IMAGES", "edit_image"]

MOST_IMAGES: Final = 4
"""The core's own bound, which is read only when a picture is edited: the server starts without it."""

EditPrompt = Annotated[
    SkipValidation[str],
    Field(description="What to change, and what to keep.", json_schema_extra={"minLength": 1}),
]
Images = Annotated[
    SkipValidation[list[str]],
    Field(
        description="file_path or file name of pictures made here, or files in allowed folders. No URLs.",
        json_schema_extra={"minItems": 1, "maxItems": MOST_IMAGES},
    ),
]
Mask = Annotated[
    SkipValidation[str | None],
    Field(description="As images: white may change, black stays. Only for models that paint in."),
]
Strength = Annotated[
    SkipValidation[float | None],
    Field(description="0 to 1: how far it may go from the picture, where the model reads it."),
]


async def edit_image(
    ctx: Context[State],
    *,
    prompt: EditPrompt,
    images: Images,
    mask: Mask = None,
    strength: Strength = None,
    negative_prompt: NegativePrompt = None,
    num_inference_steps: NumInferenceSteps = None,
    guidance_scale: GuidanceScale = None,
    seed: Seed = None,
    filename: Filename = None,
    quality: Quality = None,
    max_wait: MaxWait = None,
) -> Annotated[CallToolResult, EditResult]:
    """Change a picture, or combine up to 4, as a prompt says, and save the result as a new file.

    Waits and returns as generate_image does, in the size of the first picture. max_input_images of
    get_model_info tells how many pictures the loaded model edits; 0 is none.
    """
    from vllm_image_core.requests.edit_request import EditRequest  # noqa: PLC0415 - the server starts without it

    from vllm_image_mcp.tools import calls  # noqa: PLC0415 - likewise

    folders = ctx.request_context.lifespan_context.input_folders
    request = EditRequest(
        prompt=prompt,
        images=[folders.name(name) for name in _as_list(images)],
        mask=None if mask is None else folders.name(mask),
        strength=strength,
        negative_prompt=negative_prompt,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        seed=seed,
        filename=filename,
        quality=quality,
    )
    return await calls.generate(ctx, request, max_wait=max_wait)


def _as_list(images: object) -> list[object]:
    """The names of a call; a host may send anything, and one name alone is a list of one."""
    given = cast("list[object]", images) if isinstance(images, list) else [images]
    if 1 <= len(given) <= MOST_IMAGES:
        return given
    raise InvalidRequest(
        f"images has {len(given)} entries; an edit starts from 1 to {MOST_IMAGES} pictures.",
        parameter="images",
        value=len(given),
        allowed=f"a list of 1 to {MOST_IMAGES} names of pictures",
        next_step="Give the file_path of each picture that is to be changed or combined.",
    )
