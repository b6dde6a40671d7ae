"""Keep, reject, rate, tag and export images: the tool rate_images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, Resolve
from mcp.types import CallToolResult
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import brief, path_text

from vllm_image_mcp.results.tool_reply import reply
from vllm_image_mcp.results.tool_results import RatedFiles
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.folder_consent import ExportConsent, export_consent, remember_export_answer
from vllm_image_mcp.tools.parameters import (
    ExportFormat,
    ExportTo,
    Indexes,
    RatedBatch,
    RatedNames,
    RatingVerdict,
    Stars,
    Tag,
)

if TYPE_CHECKING:
    from pathlib import Path

    from vllm_image_core.storage.verdicts import Verdict


async def rate_images(
    ctx: Context[State],
    *,
    agreed: Annotated[ElicitationResult[ExportConsent], Resolve(export_consent)],
    images: RatedNames = None,
    batch_id: RatedBatch = None,
    indexes: Indexes = None,
    verdict: RatingVerdict = None,
    stars: Stars = None,
    tag: Tag = None,
    export_to: ExportTo = None,
    output_format: ExportFormat = None,
) -> Annotated[CallToolResult, RatedFiles]:
    """Keep, reject, rate, tag or export images. Rejected ones move to a bin."""
    state = ctx.request_context.lifespan_context
    state.check_folder()
    studio = state.studio
    chosen = _list("images", images) if batch_id is None else batch_id
    numbers: list[Any] = [] if batch_id is None else _list("indexes", indexes)
    copies, paths = (), ()
    if export_to is not None:
        if agreed.action != "cancel":
            may_write = agreed.action == "accept" and agreed.data.allow
            remember_export_answer(ctx, export_to, agreed=may_write)
        folder = _export_folder(state, export_to)
        copies = await studio.export(chosen, folder, indexes=numbers, output_format=output_format)
    if export_to is None or not (verdict is stars is tag is None):
        paths = await studio.rate(
            chosen, indexes=numbers, verdict=cast("Verdict | None", verdict), stars=stars, tag=tag
        )
    result = RatedFiles(
        file_paths=[path_text(path) for path in paths],
        exported=[path_text(path) for path in copies],
        notes=list(state.notes),
    )
    return await reply(result, state.settings)


def _export_folder(state: State, given: str) -> Path:
    if not state.asks_for_folders:
        raise InvalidRequest(
            "export_to: over HTTP, images cannot be exported to folders on the server's machine.",
            parameter="export_to",
            value=given,
            allowed="a server that its host starts itself",
            next_step="Download the images from their links instead.",
        )
    return state.export_folders.check(given)


def _list(parameter: str, given: object) -> list[Any]:
    """Return a list that has entries; a host may send anything."""
    if not isinstance(given, list) or not given:
        raise InvalidRequest(
            f"{parameter}: {brief(cast('object', given))} is not a list with at least one entry.",
            parameter=parameter,
            value=cast("object", given),
            allowed="images, a list of paths or names; or batch_id with indexes",
        )
    return cast("list[Any]", given)
