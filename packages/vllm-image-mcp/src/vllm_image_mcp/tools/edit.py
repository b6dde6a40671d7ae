"""Edit or combine images as a prompt says: the tool edit_image."""

from typing import Annotated, Final, Unpack, cast

from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, Resolve
from mcp.types import CallToolResult
from pydantic import Field, SkipValidation
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.fields import (
    RARE_EDIT_NAMES,
    RequestValues,
    field_named,
    without_rare_fields,
)

from vllm_image_mcp.results.tool_results import EditResult
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.folder_consent import FolderConsent, folder_consent, remember_answer
from vllm_image_mcp.tools.generate import generate_one
from vllm_image_mcp.tools.parameters import MaxWait, with_fields_of

MOST_IMAGES: Final = 4
"""The core's own limit, repeated here so that the server can start without reading input images."""

EditPrompt = Annotated[
    SkipValidation[str],
    Field(description="What to change and what to keep.", json_schema_extra={"minLength": 1}),
]
Images = Annotated[
    SkipValidation[list[str]],
    Field(
        description=field_named("images").description,
        json_schema_extra={"minItems": 1, "maxItems": MOST_IMAGES},
    ),
]
Mask = Annotated[SkipValidation[str | None], Field(description=field_named("mask").description)]
Reference = Annotated[
    SkipValidation[str | None], Field(description=field_named("reference_image").description)
]


@with_fields_of("edit_image")
async def edit_image(
    ctx: Context[State],
    *,
    agreed: Annotated[ElicitationResult[FolderConsent], Resolve(folder_consent)],
    prompt: EditPrompt,
    images: Images,
    mask: Mask = None,
    reference_image: Reference = None,
    max_wait: MaxWait = None,
    **values: Unpack[RequestValues],
) -> Annotated[CallToolResult, EditResult]:
    """Edit an image, or combine up to 4, as a prompt says, and save the result as a new file.

    Waits and returns like generate_image; by default in the size of the first image. The loaded model takes
    max_input_images of get_model_info; 0 means that it cannot edit.
    """
    from vllm_image_core.requests.edit_request import EditRequest  # noqa: PLC0415 - the server starts without it

    if agreed.action != "cancel":
        may_read = agreed.action == "accept" and agreed.data.allow
        remember_answer(ctx, images, mask, reference_image, agreed=may_read)
    folders = ctx.request_context.lifespan_context.input_folders
    request = EditRequest(
        prompt=prompt,
        images=[folders.name(name) for name in _as_list(images)],
        mask=None if mask is None else folders.name(mask),
        reference_image=None if reference_image is None else folders.name(reference_image),
        **without_rare_fields(values, RARE_EDIT_NAMES),
    )
    return await generate_one(ctx, request, max_wait=max_wait)


def _as_list(images: object) -> list[object]:
    """The image names of a call; a single name counts as a list of one. A host may send anything."""
    given = cast("list[object]", images) if isinstance(images, list) else [images]
    if 1 <= len(given) <= MOST_IMAGES:
        return given
    raise InvalidRequest(
        f"images has {len(given)} entries; an edit takes 1 to {MOST_IMAGES} images.",
        parameter="images",
        value=len(given),
        allowed=f"a list of 1 to {MOST_IMAGES} image names",
        next_step="Give the file_path of each image to edit or combine.",
    )
