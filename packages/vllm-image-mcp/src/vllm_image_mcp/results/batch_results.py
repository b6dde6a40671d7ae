"""Build the results of the batch tools: a batch, a list of batches, a cancellation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from vllm_image_core.errors import ImageError
from vllm_image_core.text import LONGEST_PATH, one_line, path_text
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.error_messages import explain, explain_recorded, with_program_names
from vllm_image_mcp.results.image_results import seconds_left
from vllm_image_mcp.results.links import picture_link, picture_uri
from vllm_image_mcp.results.parameters_used import (
    LONGEST_PROMPT,
    Parameters,
    common_parameters,
    differing_parameters,
    parameters_of_record,
    parameters_of_request,
    shorten,
)
from vllm_image_mcp.results.previews import SheetEntry
from vllm_image_mcp.results.tool_results import (
    BatchCancellation,
    BatchEntry,
    BatchImage,
    BatchList,
    BatchResult,
    BatchStatus,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp.types import ResourceLink
    from vllm_image_core.batches.forecast import BatchForecast
    from vllm_image_core.batches.summary import BatchState, BatchSummary, FoundBatch, ItemReport
    from vllm_image_core.requests.image_request import ImageRequest
    from vllm_image_core.storage.record import Record

    from vllm_image_mcp.jobs.batch_monitor import BatchMonitor

_CUT: Final = "Long prompts are cut in this list; the image files have them in full."
_REMOVED: Final = (
    "The image was generated, but its file has been removed from the folder. get_batch with resume=true "
    "generates it again."
)
_MOST_GROUPS: Final = 3
_MOST_LISTED: Final = 50
"""Batches in one list."""

_GOING_ON: Final = frozenset({"running", "paused", "interrupted", "stopped"})
_GIVEN_UP: Final = (
    "The call that started it was abandoned: no more requests are sent, and those already sent are saved. "
    "get_batch with this batch_id waits for them."
)
_NEXT: Final[dict[str, str]] = {
    "running": "Not finished yet: get_batch with this batch_id waits for the rest.",
    "paused": "It is paused and continues by itself: get_batch with this batch_id waits for it.",
    "interrupted": "It was interrupted: get_batch with this batch_id and resume=true generates the rest.",
    "stopped": "It was stopped: get_batch with this batch_id and resume=true generates the rest.",
}
"""The next step for a batch that has not ended."""


def batch_result(
    found: FoundBatch,
    monitor: BatchMonitor | None,
    records: Sequence[Record],
    *,
    notes: Sequence[str],
    given_up: bool,
    server_url: str,
    folder: Path,
) -> BatchResult:
    """The result on a batch, with its images in the order of its prompts.

    Args:
        found: The batch from the journal.
        monitor: Its monitor in this process; None if another process runs it.
        records: The records of its images in the folder.
        notes: The server's own.
        given_up: Whether its call was abandoned, so that only requests already sent still finish.
        server_url: The server's base URL.
        folder: The output folder.
    """
    settings = _settings(found.items, monitor, records)
    same = common_parameters(settings.values())
    of_images = {note: None for saved in monitor.saved.values() for note in saved.notes} if monitor else {}
    sent = [saved.result.parameters_used for saved in monitor.saved.values()] if monitor else []
    recorded = [one_line(record.model) for record in records if record.model]
    models = list(dict.fromkeys([*(used.model for used in sent if used), *recorded]))
    live = monitor.batch if monitor and not monitor.over else None
    counts = live.progress if live else found
    results = [
        _image(
            item,
            monitor,
            differing_parameters(same, settings.get(item.position, {})),
            server_url=server_url,
            folder=folder,
        )
        for item in found.items
    ]
    removed = sum(each.error == _REMOVED for each in results)
    status = _status(found.state)
    return BatchResult(
        status="partial" if removed and status == "success" else status,
        batch_id=found.id,
        total_time_seconds=round(live.seconds if live else found.seconds, 3),
        images_generated=counts.done - removed,
        images_failed=counts.failed + removed,
        images_cancelled=counts.cancelled,
        images_left=(counts.waiting or 0) + counts.running,
        seconds_left=seconds_left(live) if live else None,
        max_concurrent=monitor.batch.concurrency if monitor else None,
        model=models[0] if len(models) == 1 else None,
        parameters=same,
        results=results,
        notes=[
            *notes,
            *_outlook(found, given_up=given_up),
            *_mixed_models_note(models),
            *_identical_notes(found.items, results),
            *of_images,
            *_cut_note(found),
        ],
    )


def batch_forecast(
    expected: BatchForecast, first: Sequence[ImageRequest], *, notes: Sequence[str], folder: Path
) -> BatchResult:
    """The result of a dry run: what a batch would take, and its first images.

    Args:
        expected: What it would take.
        first: Its first requests.
        notes: The server's own.
        folder: The output folder.
    """
    where = one_line(str(folder), limit=LONGEST_PATH)
    more = expected.images - len(first)
    return BatchResult(
        status="dry_run",
        batch_id="",
        total_time_seconds=0.0,
        images_generated=0,
        images_failed=0,
        images_left=expected.images,
        seconds_left=None if expected.eta.seconds is None else round(expected.eta.seconds, 1),
        max_concurrent=None,
        parameters={},
        results=[
            BatchImage(
                index=index,
                prompt=shorten(request.prompt),
                status="waiting",
                file_path=None,
                generation_time_seconds=None,
                seed=request.seed,
                parameters=parameters_of_request(request),
                server=None,
            )
            for index, request in enumerate(first)
        ],
        notes=[
            *notes,
            f"Nothing was sent. {expected} in {where}. Call again without dry_run to generate them.",
            *([f"{more} more images are not listed."] if more else []),
        ],
    )


def first_images(answer: BatchResult, *, total: int, most: int) -> BatchResult:
    """A result with at most this many images, and a note on the others; the contact sheet shows more.

    Args:
        answer: The result with all images that are known.
        total: How many images the batch has.
        most: How many images to list.
    """
    more = total - most
    if more <= 0:
        return answer
    note = f"{more} more images are not listed; find_images with this batch_id finds them."
    return answer.model_copy(update={"results": answer.results[:most], "notes": [*answer.notes, note]})


def lacks_files(found: FoundBatch) -> bool:
    """Whether files of a batch were removed from the folder after they were saved."""
    return any(item.path is not None and not item.path.exists() for item in found.items)


def _status(state: BatchState) -> BatchStatus:
    return "success" if state == "done" else state


def _outlook(found: FoundBatch, *, given_up: bool) -> list[str]:
    next_step = _GIVEN_UP if given_up and found.state in _GOING_ON else _NEXT.get(found.state)
    cause = one_line(with_program_names(found.cause), limit=500) if found.cause else None
    return [*([cause] if cause else []), *([next_step] if next_step else [])]


def _mixed_models_note(models: Sequence[str]) -> list[str]:
    """The note on a batch that was resumed after its server was given another model."""
    if len(models) < 2:  # noqa: PLR2004 - more than one
        return []
    return [
        f"Made by {len(models)} models: {', '.join(sorted(models))}. find_images shows each image's model."
    ]


def _identical_notes(items: Sequence[ItemReport], results: Sequence[BatchImage]) -> list[str]:
    """The note on images of identical requests, as from a sweep of a setting the model ignores."""
    groups: dict[object, list[int]] = {}
    for item, each in zip(items, results, strict=True):
        if each.status == "success" and item.operation is None:
            groups.setdefault((item.prompt, each.seed, *sorted(each.parameters.items())), []).append(
                each.index
            )
    alike = [", ".join(map(str, group)) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    more = f" (and {len(alike) - _MOST_GROUPS} more groups)" if len(alike) > _MOST_GROUPS else ""
    note = (
        f"Images {'; and images '.join(alike[:_MOST_GROUPS])}{more} are identical: with this model, they "
        "have the same prompt, seed and settings. To see differences, vary the seed or a setting that the "
        "model uses."
    )
    return [note]


def _cut_note(found: FoundBatch) -> list[str]:
    return [_CUT] if any(len(item.prompt) > LONGEST_PROMPT for item in found.items) else []


def _settings(
    items: Sequence[ItemReport], monitor: BatchMonitor | None, records: Sequence[Record]
) -> dict[int, Parameters]:
    """The parameters of each image besides prompt and seed: from the monitor, else from its file."""
    saved: Mapping[int, Parameters] = (
        {index: each.parameters for index, each in monitor.saved.items()} if monitor else {}
    )
    files: Mapping[Path | None, Parameters] = {
        record.path: parameters_of_record(record) for record in records
    }
    found = {item.position: saved.get(item.position) or files.get(item.path) for item in items}
    return {
        position: {name: value for name, value in each.items() if name not in {"prompt", "seed"}}
        for position, each in found.items()
        if each is not None
    }


def _image(
    item: ItemReport, monitor: BatchMonitor | None, parameters: Parameters, *, server_url: str, folder: Path
) -> BatchImage:
    """The entry of one image: from the monitor, which is newer, else from the journal."""
    saved = monitor.saved.get(item.position) if monitor else None
    path = Path(saved.result.file_path) if saved and saved.result.file_path else item.path
    seconds = saved.result.generation_time_seconds if saved else item.seconds
    error = None if saved else _error(item, monitor, server_url=server_url)
    if path is not None and not path.exists():
        path, error = None, _REMOVED
    return BatchImage(
        index=item.position,
        prompt=shorten(item.prompt),
        status=_item_status(item, monitor, error=error, path=path),
        file_path=path_text(path) if path else None,
        generation_time_seconds=None if seconds is None else round(seconds, 3),
        seed=item.seed,
        uri=picture_uri(path, folder=folder) if path else None,
        parameters=parameters,
        reused=saved.result.reused if saved else item.reused,
        server=item.server,
        error=error,
    )


def _item_status(
    item: ItemReport, monitor: BatchMonitor | None, *, error: str | None, path: Path | None
) -> Literal["success", "failed", "cancelled", "running", "waiting"]:
    if path is not None:
        return "success"
    if error is not None:
        return "failed"
    state = monitor.batch.state(item.position) if monitor and not monitor.over else item.state
    return "running" if state == "done" else state  # its outcome has not been recorded yet


def _error(item: ItemReport, monitor: BatchMonitor | None, *, server_url: str) -> str | None:
    live = monitor.errors.get(item.position) if monitor else None
    if isinstance(live, (ImageError, OmniError)):
        return explain(live, server_url=server_url)
    if item.error is None or item.path is not None:
        return None
    return explain_recorded(item.kind, item.error, item.next_step, server_url=server_url)


def sheet_entries(answer: BatchResult) -> list[SheetEntry]:
    """The images of a batch as the entries of a sheet, numbered by index."""
    return [
        SheetEntry(
            number=image.index,
            path=Path(image.file_path) if image.file_path else None,
            prompt=image.prompt,
            parameters=_labels(answer, image),
        )
        for image in answer.results
    ]


def _labels(answer: BatchResult, image: BatchImage) -> dict[str, str | int | float]:
    """The labels of an image on a sheet; width and height become one label, size."""
    labels = {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in image.parameters.items()
    }
    if image.seed is not None:
        labels["seed"] = image.seed
    if not labels.keys() & {"width", "height"}:
        return labels
    every = {**answer.parameters, **labels}
    rest = {name: value for name, value in labels.items() if name not in {"width", "height"}}
    return {"size": f"{every.get('width')}x{every.get('height')}", **rest}


def links_of(answer: BatchResult) -> list[ResourceLink]:
    """A link to each saved image."""
    return [
        picture_link(Path(image.file_path), uri=image.uri, description=f"{image.index}: seed {image.seed}")
        for image in answer.results
        if image.file_path and image.uri
    ]


def recent_batches(batches: Sequence[BatchSummary], *, most: int) -> Sequence[BatchSummary]:
    """Those of the batches, newest first, that have not ended or are among the newest."""
    recent = [each for place, each in enumerate(batches) if place < most or each.state in _GOING_ON]
    return recent[:_MOST_LISTED]


def batch_list(batches: Sequence[BatchSummary]) -> BatchList:
    """The result of list_batches."""
    return BatchList(
        batches=[
            BatchEntry(
                batch_id=batch.id,
                status=_status(batch.state),
                created=batch.created.isoformat(),
                prompt=one_line(batch.prompt or ""),
                images_total=batch.total,
                images_generated=batch.done,
                images_failed=batch.failed,
                images_left=batch.waiting + batch.running,
                here=batch.owner == "here",
            )
            for batch in batches
        ]
    )


def batch_cancellation(batch: FoundBatch) -> BatchCancellation:
    """The result of cancel_batch, for a batch that was cancelled or had already ended."""
    running = "An image in progress may still finish on the GPU; it is not saved."
    return BatchCancellation(
        batch_id=batch.id,
        status="cancelled" if batch.state == "cancelled" else "completed",
        completed=batch.done,
        cancelled=batch.cancelled,
        failed=batch.failed,
        files_saved=[path_text(item.path) for item in batch.items if item.path],
        notes=[running] if batch.left_running else [],
    )
