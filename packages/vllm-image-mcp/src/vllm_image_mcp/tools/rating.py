"""Keep, reject, rate and tag images: the tool rate_images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import brief, path_text

from vllm_image_mcp.results.tool_reply import reply
from vllm_image_mcp.results.tool_results import RatedFiles
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.parameters import (
    Indexes,
    RatedBatch,
    RatedNames,
    RatingVerdict,
    Stars,
    Tag,
)

if TYPE_CHECKING:
    from vllm_image_core.storage.verdicts import Verdict


async def rate_images(
    ctx: Context[State],
    *,
    images: RatedNames = None,
    batch_id: RatedBatch = None,
    indexes: Indexes = None,
    verdict: RatingVerdict = None,
    stars: Stars = None,
    tag: Tag = None,
) -> Annotated[CallToolResult, RatedFiles]:
    """Keep, reject, rate or tag images. Rejected ones move to a bin."""
    state = ctx.request_context.lifespan_context
    state.check_folder()
    paths = await state.studio.rate(
        _list("images", images) if batch_id is None else batch_id,
        indexes=[] if batch_id is None else _list("indexes", indexes),
        verdict=cast("Verdict | None", verdict),
        stars=stars,
        tag=tag,
    )
    result = RatedFiles(file_paths=[path_text(path) for path in paths], notes=list(state.notes))
    return await reply(result, state.settings)


def _list(parameter: str, given: object) -> list[Any]:
    """Return a list that has entries; a host may send anything."""
    if not isinstance(given, list) or not given:
        raise InvalidRequest(
            f"{parameter}: {brief(cast('object', given))} is not a list with entries.",
            parameter=parameter,
            value=cast("object", given),
            allowed="images, a list of paths or names; or batch_id with indexes",
        )
    return cast("list[Any]", given)
