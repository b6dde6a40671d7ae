"""The tool edit_image: its parameters, its result, and one call into the studio."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

from mcp.server.mcpserver import Context
from pydantic import Field, SkipValidation, WithJsonSchema
from vllm_image_core.errors import InvalidRequest

from vllm_image_mcp import answers
from vllm_image_mcp.parameters import (
    Filename,
    GuidanceScale,
    NegativePrompt,
    NumInferenceSteps,
    Quality,
    Seed,
)
from vllm_image_mcp.results import ImageResult, ParametersUsed
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_core.generated import GeneratedImage

__all__ = ["MOST_IMAGES", "EditResult", "edit_image"]

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


class EditResult(ImageResult):
    """One edited picture, saved."""

    parameters_used: Annotated[
        ParametersUsed | None,
        WithJsonSchema(
            {"anyOf": [{"type": "object"}, {"type": "null"}], "description": "As in generate_image."}
        ),
    ] = None
    inputs: list[str] = Field(description="File names of the pictures that it was made of.")


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
) -> EditResult:
    """Change a picture, or combine up to 4, as a prompt says, and save the result as a new file.

    Returns what generate_image returns, in the size of the first picture. max_input_images of get_model_info
    tells how many pictures the loaded model edits; 0 is none.
    """
    from vllm_image_core.edit import EditRequest  # noqa: PLC0415 - the server starts without it

    state = ctx.request_context.lifespan_context
    folders = state.input_folders
    image = await state.studio.make(
        EditRequest(
            prompt=prompt,
            images=[folders.named(name) for name in _listed(images)],
            mask=None if mask is None else folders.named(mask),
            strength=strength,
            negative_prompt=negative_prompt,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            filename=filename,
            quality=quality,
        )
    )
    return edit_result(image, notes=state.notes, folder=state.studio.output_dir)


def edit_result(image: "GeneratedImage", *, notes: tuple[str, ...], folder: Path) -> EditResult:
    """One edited picture in the output folder; ``notes`` are the server's own."""
    from vllm_image_core.edit_resolver import ResolvedEdit  # noqa: PLC0415 - the server starts without it

    told = answers.image_result(image, notes=notes, folder=folder)
    inputs = image.request.inputs.by_role if isinstance(image.request, ResolvedEdit) else ()
    return EditResult(**dict(told), inputs=[one.name or role for role, one in inputs])


def _listed(images: object) -> list[object]:
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
