"""Generate one image: the tool generate_image, and what it shares with edit_image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from vllm_image_core.requests.fields import RequestValues, without_rare_fields

from vllm_image_mcp.results.image_results import unfinished_image
from vllm_image_mcp.results.links import picture_link
from vllm_image_mcp.results.tool_reply import reply
from vllm_image_mcp.results.tool_results import ImageResult
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.parameters import MaxWait, Prompt, with_fields_of

if TYPE_CHECKING:
    from vllm_image_core.requests.edit_request import EditRequest
    from vllm_image_core.requests.image_request import ImageRequest


@with_fields_of("generate_image")
async def generate_image(
    ctx: Context[State],
    *,
    prompt: Prompt,
    max_wait: MaxWait = None,
    **values: Unpack[RequestValues],
) -> Annotated[CallToolResult, ImageResult]:
    """Generate a single image from a text prompt and save it as a file.

    Returns a preview, the file path, a link to the full image, the seed and the parameters used; after
    max_wait, status "running" and a batch_id for get_batch. For several images, or to compare settings, use
    batch_generate.
    """
    from vllm_image_core.requests.image_request import ImageRequest  # noqa: PLC0415 - the server starts without it

    request = ImageRequest(prompt=prompt, **without_rare_fields(values))
    return await generate_one(ctx, request, max_wait=max_wait)


async def generate_one(ctx: Context[State], request: ImageRequest, *, max_wait: object) -> CallToolResult:
    """Generate or edit one image as a batch of one, so that it outlives an abandoned call."""
    from vllm_image_core.requests.edit_request import EditRequest  # noqa: PLC0415 - the server starts without it

    from vllm_image_mcp.jobs.waiting import begin_and_wait  # noqa: PLC0415 - likewise
    from vllm_image_mcp.results.previews import one_picture  # noqa: PLC0415 - likewise

    state = ctx.request_context.lifespan_context
    state.check_folder()
    batch = state.studio.batch([request])
    monitor = await begin_and_wait(ctx, batch, total=1, max_wait=max_wait, through_trouble=False)
    if error := monitor.errors.get(0) or batch.trouble:
        await batch.cancel()  # the caller sees an error and may call again: that must not make two images
        raise error
    if saved := monitor.saved.get(0):
        path = Path(saved.result.file_path or "")
        link = picture_link(path, uri=saved.result.uri or "", description=saved.description)
        return await reply(saved.result, state.settings, links=[link], drawing=one_picture(path))
    inputs = _input_names(request) if isinstance(request, EditRequest) else None
    result = unfinished_image(monitor.batch, inputs=inputs, over=monitor.over, notes=state.notes)
    return await reply(result, state.settings)


def _input_names(edit: EditRequest) -> list[str]:
    """The names of an edit's input images, as the finished result will give them."""
    from vllm_image_core.requests.input_picture import as_sequence  # noqa: PLC0415 - only edits have input images

    from vllm_image_mcp.input_folders import NamedImage  # noqa: PLC0415 - likewise

    given = [*as_sequence(edit.images), edit.mask, edit.reference_image]
    return [one.name for one in given if isinstance(one, NamedImage)]
