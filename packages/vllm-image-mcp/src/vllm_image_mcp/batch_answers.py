"""What became of a batch, put into the results that the tools publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vllm_image_core.errors import ImageError
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.answers import described
from vllm_image_mcp.links import picture_link, picture_uri
from vllm_image_mcp.messages import explain
from vllm_image_mcp.previews import Shown
from vllm_image_mcp.results import BatchCancelled, BatchImage, BatchResult, BatchStatus
from vllm_image_mcp.settings_told import (
    LONGEST_PROMPT,
    Parameters,
    asked_settings,
    brief,
    other_than,
    sent_settings,
    shared,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mcp.types import ResourceLink
    from vllm_image_core.picture_batch import PictureBatch

__all__ = ["batch_cancelled", "batch_result", "links_of", "shown_of"]

_CUT: Final = "Long prompts are cut in this list; the pictures' files have them whole."


def batch_result(batch: PictureBatch, *, notes: Sequence[str], server_url: str, folder: Path) -> BatchResult:
    """A batch that has ended, in the order of its prompts."""
    told = {note: None for image in batch.images.values() for note in image.notes}
    settings = {index: sent_settings(image) for index, image in batch.images.items()}
    same = shared(settings.values())
    images = [
        _batch_image(batch, index, server_url=server_url, folder=folder, same=same)
        for index in range(len(batch.requests))
    ]
    cut = any(len(request.prompt) > LONGEST_PROMPT for request in batch.requests)
    return BatchResult(
        status=_batch_status(batch),
        batch_id=batch.id,
        total_time_seconds=round(batch.seconds, 3),
        images_generated=len(batch.images),
        images_failed=len(batch.errors),
        images_cancelled=batch.unfinished,
        max_concurrent=batch.at_once,
        model=next((image.model for image in batch.images.values()), None),
        parameters=same,
        results=images,
        notes=[*notes, *told, *([_CUT] if cut else [])],
    )


def _batch_status(batch: PictureBatch) -> BatchStatus:
    if batch.unfinished:
        return "cancelled"
    if not batch.errors:
        return "success"
    return "partial" if batch.images else "failed"


def _batch_image(
    batch: PictureBatch, index: int, *, server_url: str, folder: Path, same: Parameters
) -> BatchImage:
    request, image, error = batch.requests[index], batch.images.get(index), batch.errors.get(index)
    return BatchImage(
        index=index,
        prompt=brief(request.prompt),
        uri=picture_uri(image.path, folder=folder) if image else None,
        parameters=other_than(same, sent_settings(image)) if image else {},
        status="success" if image else "failed" if error else "cancelled",
        file_path=str(image.path) if image else None,
        generation_time_seconds=round(image.seconds, 3) if image else None,
        seed=request.seed or 0,
        reused=image.reused if image else False,
        error=explain(error, server_url=server_url) if isinstance(error, (ImageError, OmniError)) else None,
    )


def shown_of(batch: PictureBatch) -> list[Shown]:
    """The pictures of a batch as the places of a sheet, each numbered by its index."""
    settings = {index: sent_settings(image) for index, image in batch.images.items()}
    same = shared(settings.values())
    return [
        Shown(
            number=index,
            path=image.path if (image := batch.images.get(index)) else None,
            prompt=request.prompt,
            parameters={
                **other_than(same, settings.get(index) or asked_settings(request)),
                "seed": request.seed or 0,
            },
        )
        for index, request in enumerate(batch.requests)
    ]


def links_of(batch: PictureBatch, *, folder: Path) -> list[ResourceLink]:
    """A link to each picture that is there."""
    return [
        picture_link(image.path, folder=folder, description=f"{index}: {described(image)}")
        for index, image in batch.images.items()
    ]


def batch_cancelled(batch: PictureBatch) -> BatchCancelled:
    """What a batch holds after it was cancelled, or after it had ended."""
    return BatchCancelled(
        batch_id=batch.id,
        status="cancelled" if batch.cancelled or batch.unfinished else "completed",
        completed=len(batch.images),
        cancelled=batch.unfinished,
        failed=len(batch.errors),
        files_saved=[str(image.path) for image in batch.images.values()],
        notes=["A picture that was running may still be finished on the GPU; it is not saved."]
        if batch.unfinished
        else [],
    )
