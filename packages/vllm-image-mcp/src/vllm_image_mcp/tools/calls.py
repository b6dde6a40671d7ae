"""The calls that make pictures or tell of them: each from its request to a whole reply."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vllm_image_core.errors import ImageError
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.input_picture import as_sequence

from vllm_image_mcp.input_folders import NamedPicture
from vllm_image_mcp.jobs.folder_outcomes import with_folder
from vllm_image_mcp.jobs.wait_limits import answer_by
from vllm_image_mcp.jobs.waiting import GOING_ON, Beginning, wait_for_batch, wait_for_other_process
from vllm_image_mcp.results import batch_results, found_images
from vllm_image_mcp.results.image_results import image_waiting
from vllm_image_mcp.results.links import picture_link
from vllm_image_mcp.results.previews import one_picture, sheet
from vllm_image_mcp.results.tool_reply import reply, with_notes
from vllm_image_mcp.tools import sweeps
from vllm_image_mcp.tools.checks import check_limit, yes_or_no
from vllm_image_mcp.tools.dates import begin_of, end_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp.server.mcpserver import Context
    from mcp.types import CallToolResult
    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.batches.summary import BatchSummary, FoundBatch
    from vllm_image_core.requests.image_request import ImageRequest
    from vllm_image_core.storage.record import Record

    from vllm_image_mcp.jobs.batch_monitor import BatchMonitor
    from vllm_image_mcp.results.tool_results import BatchResult
    from vllm_image_mcp.state import State

__all__ = [
    "batch_cancelled",
    "batch_got",
    "batches_listed",
    "expand_requests",
    "generate",
    "images_found",
    "many_made",
]

MOST_LISTED: Final = 20
"""Pictures of a batch that one answer tells of; a batch from here has no more."""

_MOST_BATCHES: Final = 1_000
_CUT_OFF: Final = frozenset({"interrupted"})
_RESUMABLE: Final = frozenset({"interrupted", "stopped"})
_FOR_GOOD: Final = (
    "This batch was cancelled, and that is for good: resume makes nothing. Ask again for the images that are "
    "missing, with their prompts and seeds."
)
_RETRIABLE: Final = frozenset({"partial", "failed"})


async def generate(ctx: Context[State], request: ImageRequest, *, max_wait: object) -> CallToolResult:
    """Make one picture, from a text or from others, as a batch of one: it is not lost when the call is.

    Raises:
        InvalidRequest: The request does not fit the model.
        ImageError: The picture cannot be saved.
        OmniError: The server refused, failed, or did not answer.
    """
    state = _with_folder(ctx)
    batch = state.studio.batch([request])
    monitor = await _begin_and_wait(ctx, batch, [request], max_wait=max_wait, through_trouble=False)
    if error := monitor.errors.get(0) or batch.trouble:
        await batch.cancel()  # who is told of an error may call again, and must not get two pictures
        raise error
    if seen := monitor.seen.get(0):
        path = Path(seen.answer.file_path or "")
        link = picture_link(path, uri=seen.answer.uri or "", description=seen.described)
        return await reply(seen.answer, state.settings, links=[link], drawing=one_picture(path))
    inputs = _input_names(request) if isinstance(request, EditRequest) else None
    answer = image_waiting(monitor.batch, inputs=inputs, over=monitor.over, notes=state.notes)
    return await reply(answer, state.settings)


class NotAgreed(ImageError):
    """The user was asked, and said no."""

    usual_next_step = "Ask the user what they want instead."


def expand_requests(
    prompts: Sequence[str], seeds: Sequence[int] | None, sweep: object, *, shared: ImageRequest
) -> list[ImageRequest]:
    """The requests of a batch, in order.

    Raises:
        InvalidRequest: Too many or too few of something, or a sweep that is none.
    """
    return sweeps.expand_requests(
        prompts, seeds, sweep, shared=shared, draw_seed=lambda: secrets.randbelow(2**32)
    )


async def many_made(
    ctx: Context[State],
    requests: Sequence[ImageRequest],
    *,
    agreed: bool,
    max_concurrent: int | None,
    max_wait: object,
) -> CallToolResult:
    """Make a batch, and tell what is there when it is over or the wait is.

    Raises:
        NotAgreed: The user was asked, and said no; nothing was sent.
        InvalidRequest: A request does not fit the model.
        ImageError: The folder cannot be written.
        OmniError: The server does not tell its model.
    """
    if not agreed:
        raise NotAgreed(f"The user does not want these {len(requests)} pictures; nothing was sent.")
    studio = _with_folder(ctx).studio
    batch = studio.batch(requests, max_concurrent=max_concurrent)
    await _begin_and_wait(ctx, batch, requests, max_wait=max_wait)
    return await _batch_reply(ctx, await studio.find_batch(batch.id, limit=MOST_LISTED), failing=True)


async def batch_got(
    ctx: Context[State], batch_id: str, *, wait: object, resume: object, max_wait: object
) -> CallToolResult:
    """Tell of a batch of any process, after some waiting, and after going on with it if that is asked.

    Raises:
        InvalidRequest: Something is neither true nor false, or no time to wait.
        UnknownBatch: No batch of this folder has that id.
        BatchInUse: It is to go on, and another process works on it.
        ImageError: The journal cannot be read.
    """
    state = _with_folder(ctx)
    waiting, resuming = yes_or_no("wait", wait, usual=True), yes_or_no("resume", resume, usual=False)
    until = answer_by(ctx, max_wait) if waiting else asyncio.get_running_loop().time()
    found_batch = await state.studio.find_batch(batch_id, limit=MOST_LISTED)
    monitor = await _resume(state, found_batch) if resuming else state.tracker.monitor_of(found_batch.id)
    if monitor is not None and waiting:
        await wait_for_batch(ctx, monitor, until)
    elif monitor is None and waiting and found_batch.state in GOING_ON:
        await wait_for_other_process(ctx, found_batch, until)
    if monitor is not None:
        await state.tracker.wait_until_settled(monitor)
    told = await _batch_reply(ctx, await state.studio.find_batch(batch_id, limit=MOST_LISTED))
    return with_notes(told, [_FOR_GOOD]) if resuming and found_batch.state == "cancelled" else told


async def batches_listed(ctx: Context[State]) -> CallToolResult:
    """Tell of what runs or was cut off, and of the last 20.

    Raises:
        ImageError: The journal cannot be read.
    """
    state = _with_folder(ctx)
    known = await state.studio.batches(_MOST_BATCHES)
    listed_batches = batch_results.recent_batches(known, most=MOST_LISTED)
    told = [
        await _with_folder_outcomes(state, each) if each.state in _CUT_OFF else each
        for each in listed_batches
    ]
    return await reply(batch_results.batch_list(told), state.settings)


async def batch_cancelled(ctx: Context[State], batch_id: str) -> CallToolResult:
    """Cancel a batch of any process.

    Raises:
        UnknownBatch: No batch of this folder has that id.
        ImageError: The journal cannot be read or written.
    """
    state = _with_folder(ctx)
    return await reply(
        batch_results.batch_cancelled(await state.studio.cancel_batch(batch_id)), state.settings
    )


async def images_found(
    ctx: Context[State],
    *,
    text: str | None,
    model: str | None,
    seed: int | None,
    since: object,
    until: object,
    limit: object,
    offset: int | None,
) -> CallToolResult:
    """Tell of earlier pictures.

    Raises:
        InvalidRequest: Something that cannot be searched for.
        ImageError: The folder's index cannot be read.
    """
    state = _with_folder(ctx)
    folder = state.studio.output_dir
    page = await state.studio.find(
        text,
        model=model,
        seed=seed,
        since=begin_of("since", since),
        until=end_of("until", until),
        limit=check_limit(limit),
        offset=0 if offset is None else offset,
    )
    answer = await asyncio.to_thread(found_images.found_images, page, folder=folder)
    if not answer.images:
        given = {"text": text, "model": model, "seed": seed, "since": since, "until": until}
        note = found_images.nothing_found(given, offset=offset or 0, folder=folder)
        answer = answer.model_copy(update={"notes": [note]})
    return await reply(
        answer,
        state.settings,
        links=found_images.links_of(answer),
        drawing=sheet(found_images.sheet_entries(page)) if page.pictures else None,
    )


def _with_folder(ctx: Context[State]) -> State:
    """The state of a call that needs the output folder, which can be used."""
    state = ctx.request_context.lifespan_context
    state.check_folder()
    return state


def _input_names(edit: EditRequest) -> list[str]:
    """The names of the pictures of an edit, as its finished picture will tell them."""
    given = [*as_sequence(edit.images), *([] if edit.mask is None else [edit.mask])]
    return [one.name for one in given if isinstance(one, NamedPicture)]


async def _begin_and_wait(
    ctx: Context[State],
    batch: ImageBatch,
    requests: Sequence[ImageRequest],
    *,
    max_wait: object,
    through_trouble: bool = True,
) -> BatchMonitor:
    """Begin a batch of some requests and wait; where the host gives up, what was not sent is cancelled."""
    tracker = ctx.request_context.lifespan_context.tracker
    until = answer_by(ctx, max_wait)
    async with Beginning(ctx, batch.id, total=len(requests), until=until) as beginning:
        monitor = await tracker.begin(batch)
    try:
        await wait_for_batch(ctx, monitor, until, through_trouble=through_trouble, ticks=beginning.ticks)
    except asyncio.CancelledError:
        tracker.wind_down(monitor)
        raise
    if monitor.fault is not None:
        raise monitor.fault
    return monitor


async def _resume(state: State, found_batch: FoundBatch) -> BatchMonitor | None:
    """Go on with a batch that was cut off, has failures, or lacks files; any other stays as it is."""
    lacks_files = found_batch.state == "done" and batch_results.lacks_files(found_batch)
    if found_batch.state not in _RESUMABLE | _RETRIABLE and not lacks_files:
        return state.tracker.monitor_of(found_batch.id)
    batch = state.studio.resume(found_batch.id)
    if found_batch.state in _RETRIABLE:
        await batch
        await batch.retry_failed()
    return await state.tracker.begin(batch)


async def _batch_reply(
    ctx: Context[State], found_batch: FoundBatch, *, failing: bool = False
) -> CallToolResult:
    """The reply on a batch; one of which nothing came is an error for the call that asked for it."""
    answer = await _answer(ctx.request_context.lifespan_context, found_batch)
    state = ctx.request_context.lifespan_context
    return await reply(
        answer,
        state.settings,
        links=batch_results.links_of(answer),
        drawing=sheet(batch_results.sheet_entries(answer)) if answer.images_generated else None,
        is_error=failing and answer.status == "failed",
    )


async def _with_folder_outcomes(state: State, batch: BatchSummary) -> BatchSummary:
    """A batch that was cut off, with the pictures that the folder has and its journal has not."""
    found_batch = await state.studio.find_batch(batch.id, limit=MOST_LISTED)
    records = (await state.studio.find(batch=batch.id, limit=_MOST_BATCHES)).pictures
    return with_folder(found_batch, records)


async def _answer(state: State, found_batch: FoundBatch) -> BatchResult:
    monitor = state.tracker.monitor_of(found_batch.id)
    done = {item.position for item in found_batch.items if item.path is not None}
    records: Sequence[Record] = ()
    if found_batch.state in _CUT_OFF or done - (monitor.seen.keys() if monitor else set()):
        records = (await state.studio.find(batch=found_batch.id, limit=_MOST_BATCHES)).pictures
    return batch_results.batch_result(
        with_folder(found_batch, records) if found_batch.state in _CUT_OFF else found_batch,
        monitor,
        records,
        notes=state.notes,
        given_up=state.tracker.is_given_up(found_batch.id),
        server_url=state.server_url,
        folder=state.studio.output_dir,
    )
