"""Generate, read, resume, cancel and list batches: the tools that work on several images."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final, Unpack

from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, Resolve
from mcp.types import CallToolResult
from vllm_image_core.errors import ImageError
from vllm_image_core.requests.fields import RequestValues

from vllm_image_mcp.jobs.wait_limits import answer_deadline
from vllm_image_mcp.results.tool_reply import reply, with_notes
from vllm_image_mcp.results.tool_results import BatchCancellation, BatchList, BatchReport, BatchResult
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.checks import check_switch
from vllm_image_mcp.tools.consent import Consent, consent
from vllm_image_mcp.tools.parameters import (
    BatchId,
    Count,
    DryRun,
    MaxConcurrent,
    MaxWait,
    Prompts,
    Resume,
    Seeds,
    Sweep,
    UseWildcards,
    Wait,
    Zip,
    with_fields_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_image_core.batches.summary import BatchSummary, FoundBatch
    from vllm_image_core.requests.image_request import ImageRequest
    from vllm_image_core.storage.record import Record

    from vllm_image_mcp.jobs.batch_monitor import BatchMonitor

MOST_LISTED: Final = 20
"""Images of a batch in one result, and finished batches in one list."""

_MOST_DRAWN: Final = 100
"""Images on one contact sheet: more would be too small."""

_MOST_BATCHES: Final = 1_000
_CUT_OFF: Final = frozenset({"interrupted"})
_RESUMABLE: Final = frozenset({"interrupted", "stopped"})
_RETRIABLE: Final = frozenset({"partial", "failed"})
_FOR_GOOD: Final = (
    "This batch was cancelled and cannot be resumed. To get the missing images, request them again with "
    "their prompts and seeds."
)


class NotAgreed(ImageError):
    """The user was asked and declined."""

    usual_next_step = "Ask the user what they want instead."


@with_fields_of("batch_generate")
async def batch_generate(
    ctx: Context[State],
    *,
    agreed: Annotated[ElicitationResult[Consent], Resolve(consent)],
    prompts: Prompts,
    seeds: Seeds = None,
    count: Count = None,
    sweep: Sweep = None,
    zip: Zip = None,  # noqa: A002 - the grammar's own name, and keyword-only
    wildcards: UseWildcards = None,
    dry_run: DryRun = None,
    max_concurrent: MaxConcurrent = None,
    max_wait: MaxWait = None,
    **values: Unpack[RequestValues],
) -> Annotated[CallToolResult, BatchResult]:
    """Generate several images at once: up to 20 prompts and variations of them, 1,000 images in all.

    Returns each path and seed, and a contact sheet numbered by index, or a labelled grid. After max_wait the
    rest goes on: get_batch waits for it by batch_id, cancel_batch stops it.
    """
    from vllm_image_mcp.tools.expansion import expand_prompts  # noqa: PLC0415 - the server starts without it

    state = ctx.request_context.lifespan_context
    estimate_only = check_switch("dry_run", dry_run, default=False)
    requests = expand_prompts(
        state,
        prompts,
        seeds=seeds,
        count=count,
        sweep=sweep,
        pairing=zip,
        wildcards=wildcards,
        values=values,
    )
    if estimate_only:
        return await _forecast_reply(state, requests)
    return await generate_many(
        ctx,
        requests,
        agreed=agreed.action == "accept" and agreed.data.go_on,
        max_concurrent=max_concurrent,
        max_wait=max_wait,
    )


async def generate_many(
    ctx: Context[State],
    requests: Sequence[ImageRequest],
    *,
    agreed: bool,
    max_concurrent: int | None,
    max_wait: object,
) -> CallToolResult:
    """Generate a batch and return what is finished when it ends or the wait runs out."""
    from vllm_image_mcp.jobs.waiting import begin_and_wait  # noqa: PLC0415 - the server starts without it

    if not agreed:
        raise NotAgreed(f"The user declined these {len(requests)} images; nothing was sent.")
    state = ctx.request_context.lifespan_context
    state.check_folder()
    batch = state.studio.batch(requests, max_concurrent=max_concurrent)
    await begin_and_wait(ctx, batch, total=len(requests), max_wait=max_wait)
    return await _batch_reply(state, batch.id, failing=True)


async def get_batch(
    ctx: Context[State],
    batch_id: BatchId,
    *,
    wait: Wait = True,
    resume: Resume = False,
    max_wait: MaxWait = None,
) -> Annotated[CallToolResult, BatchReport]:
    """Get the state of a batch, even after a restart, and wait for its unfinished images.

    Returns what batch_generate returns. While status is "running", call it again; "interrupted" and "stopped"
    need resume=true, which generates only what is missing.
    """
    from vllm_image_mcp.jobs import waiting  # noqa: PLC0415 - the server starts without it

    state = ctx.request_context.lifespan_context
    state.check_folder()
    wanted, resuming = check_switch("wait", wait, default=True), check_switch("resume", resume, default=False)
    until = answer_deadline(ctx, max_wait) if wanted else asyncio.get_running_loop().time()
    found = await state.studio.find_batch(batch_id, limit=MOST_LISTED)
    monitor = await _resume(state, found) if resuming else state.tracker.monitor_of(found.id)
    if monitor is not None and wanted:
        await waiting.wait_for_batch(ctx, monitor, until)
    elif monitor is None and wanted and found.state in waiting.GOING_ON:
        await waiting.wait_for_other_process(ctx, found, until)
    if monitor is not None:
        await state.tracker.wait_until_settled(monitor)
    result = await _batch_reply(state, batch_id)
    return with_notes(result, [_FOR_GOOD]) if resuming and found.state == "cancelled" else result


async def cancel_batch(
    ctx: Context[State], batch_id: BatchId
) -> Annotated[CallToolResult, BatchCancellation]:
    """Cancel a running batch generation. Already-completed images are kept."""
    from vllm_image_mcp.results import batch_results  # noqa: PLC0415 - the server starts without it

    state = ctx.request_context.lifespan_context
    state.check_folder()
    cancelled = await state.studio.cancel_batch(batch_id)
    return await reply(batch_results.batch_cancellation(cancelled), state.settings)


async def list_batches(ctx: Context[State]) -> Annotated[CallToolResult, BatchList]:
    """List running and interrupted batches, and the last 20, newest first."""
    from vllm_image_mcp.results import batch_results  # noqa: PLC0415 - the server starts without it

    state = ctx.request_context.lifespan_context
    state.check_folder()
    recent = batch_results.recent_batches(await state.studio.batches(_MOST_BATCHES), most=MOST_LISTED)
    complete = [await _with_saved_images(state, each) if each.state in _CUT_OFF else each for each in recent]
    return await reply(batch_results.batch_list(complete), state.settings)


async def _resume(state: State, found: FoundBatch) -> BatchMonitor | None:
    """Resume a batch that was interrupted, has failures, or lacks files; leave any other as it is."""
    from vllm_image_mcp.results.batch_results import lacks_files  # noqa: PLC0415 - the server starts without it

    if found.state not in _RESUMABLE | _RETRIABLE and not (found.state == "done" and lacks_files(found)):
        return state.tracker.monitor_of(found.id)
    batch = state.studio.resume(found.id)
    if found.state in _RETRIABLE:
        await batch
        await batch.retry_failed()
    return await state.tracker.begin(batch)


async def _batch_reply(state: State, batch_id: str, *, failing: bool = False) -> CallToolResult:
    """The reply on a batch as it is now; with ``failing``, it is an error if every image failed."""
    from vllm_image_mcp.results import batch_results  # noqa: PLC0415 - the server starts without it
    from vllm_image_mcp.results.previews import sheet  # noqa: PLC0415 - likewise

    found = await state.studio.find_batch(batch_id, limit=_MOST_DRAWN)
    result = await _batch_result(state, found)
    shown = batch_results.first_images(result, total=found.recorded, most=MOST_LISTED)
    return await reply(
        shown,
        state.settings,
        links=batch_results.links_of(shown),
        drawing=sheet(batch_results.sheet_entries(result)) if result.images_generated else None,
        is_error=failing and result.status == "failed",
    )


async def _forecast_reply(state: State, requests: Sequence[ImageRequest]) -> CallToolResult:
    """The reply to a dry run: what a batch would take, and its first images."""
    from vllm_image_mcp.results.batch_results import batch_forecast  # noqa: PLC0415 - the server starts without it

    expected = await state.studio.batch(requests).forecast()
    result = batch_forecast(
        expected, requests[:MOST_LISTED], notes=state.notes, folder=state.studio.output_dir
    )
    return await reply(result, state.settings)


async def _batch_result(state: State, found: FoundBatch) -> BatchResult:
    from vllm_image_mcp.results.batch_results import batch_result  # noqa: PLC0415 - the server starts without it

    monitor = state.tracker.monitor_of(found.id)
    done = {item.position for item in found.items if item.path is not None}
    records: Sequence[Record] = ()
    if found.state in _CUT_OFF or done - (monitor.saved.keys() if monitor else set()):
        records = (await state.studio.find(batch=found.id, limit=_MOST_BATCHES)).pictures
    return batch_result(
        _add_folder_outcomes(found, records) if found.state in _CUT_OFF else found,
        monitor,
        records,
        notes=state.notes,
        given_up=state.tracker.is_given_up(found.id),
        server_url=state.server_url,
        folder=state.studio.output_dir,
    )


async def _with_saved_images(state: State, batch: BatchSummary) -> BatchSummary:
    found = await state.studio.find_batch(batch.id, limit=MOST_LISTED)
    records = (await state.studio.find(batch=batch.id, limit=_MOST_BATCHES)).pictures
    return _add_folder_outcomes(found, records)


def _add_folder_outcomes(found: FoundBatch, records: Sequence[Record]) -> FoundBatch:
    """Add the images that are in the folder but not in the journal of a batch that no process works on."""
    recorded = {item.path for item in found.items}
    free = [record for record in records if record.path not in recorded]
    items = list(found.items)
    for place, item in enumerate(items):
        if item.state != "waiting":
            continue
        record = next((each for each in free if (each.prompt, each.seed) == (item.prompt, item.seed)), None)
        if record is not None:
            free.remove(record)
            items[place] = replace(item, state="done", path=record.path, seconds=record.seconds)
    more = sum(item.state == "done" for item in items) - sum(item.state == "done" for item in found.items)
    return replace(found, items=items, done=found.done + more, waiting=found.waiting - more)
