"""Find images made earlier: the tool find_images."""

import asyncio
from typing import Annotated

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult

from vllm_image_mcp.dates import end_of, start_of
from vllm_image_mcp.results.tool_reply import reply
from vllm_image_mcp.results.tool_results import FoundImages
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.checks import check_limit, check_switch, check_verdict
from vllm_image_mcp.tools.parameters import (
    USUALLY_FOUND,
    FindBatch,
    FindLimit,
    FindModel,
    FindOffset,
    FindSeed,
    FindStars,
    FindTag,
    FindText,
    FindVerdict,
    NewSeeds,
    Since,
    Until,
)


async def find_images(
    ctx: Context[State],
    *,
    text: FindText = None,
    model: FindModel = None,
    seed: FindSeed = None,
    since: Since = None,
    until: Until = None,
    batch_id: FindBatch = None,
    verdict: FindVerdict = None,
    stars: FindStars = None,
    tag: FindTag = None,
    new_seeds: NewSeeds = None,
    limit: FindLimit = USUALLY_FOUND,
    offset: FindOffset = 0,
) -> Annotated[CallToolResult, FoundImages]:
    """Find images made earlier, newest first, with a contact sheet and the parameters to repeat each.

    Without arguments it lists the latest. Pass an image's parameters to its tool.
    """
    from vllm_image_mcp.results import found_images  # noqa: PLC0415 - the server starts without it
    from vllm_image_mcp.results.previews import sheet  # noqa: PLC0415 - likewise

    state = ctx.request_context.lifespan_context
    state.check_folder()
    folder = state.studio.output_dir
    decision = check_verdict(verdict)
    similar = check_switch("new_seeds", new_seeds, default=False)
    reports: list[asyncio.Task[None]] = []

    def report(done: int, total: int) -> None:
        message = f"Read {done} of {total} new images"
        reports.append(asyncio.create_task(ctx.report_progress(done, total, message)))

    page = await state.studio.find(
        text,
        model=model,
        seed=seed,
        since=start_of("since", since),
        until=end_of("until", until),
        batch=batch_id,
        kept=decision == "keep",
        rejected=decision == "reject",
        stars=stars,
        tag=tag,
        limit=check_limit(limit),
        offset=0 if offset is None else offset,
        on_progress=report,
    )
    await asyncio.gather(*reports)
    result = await asyncio.to_thread(found_images.found_images, page, folder=folder, new_seeds=similar)
    if not result.images:
        terms = {"text": text, "model": model, "seed": seed, "since": since, "until": until}
        given = {**terms, "batch_id": batch_id, "verdict": verdict, "stars": stars, "tag": tag}
        note = found_images.no_match_note(given, offset=offset or 0, folder=folder)
        result = result.model_copy(update={"notes": [note]})
    return await reply(
        result,
        state.settings,
        links=found_images.links_of(result),
        drawing=sheet(found_images.sheet_entries(page)) if page.pictures else None,
    )
