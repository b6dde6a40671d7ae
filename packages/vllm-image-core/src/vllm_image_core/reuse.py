"""Reuse: a picture that is in the folder already, given in place of one that would be made again."""

from vllm_image_core import surprises
from vllm_image_core.editing.layers import layers_beside
from vllm_image_core.editing.making import receipt_of
from vllm_image_core.generated import GeneratedImage
from vllm_image_core.job import Job
from vllm_image_core.library import Existing, Saved
from vllm_image_core.picture import Picture
from vllm_image_core.receipt import Receipt
from vllm_image_core.resolver import ResolvedRequest
from vllm_image_core.served import ServedModel

__all__ = ["receipt", "reused"]


def receipt(job: Job, resolved: ResolvedRequest, received: Picture) -> Receipt:
    """The receipt of a job with the picture that it has got."""
    told = receipt_of(job.request, resolved)
    return told.confirmed(size=received.size, output_format=received.format)


def reused(
    existing: Existing,
    saved: Saved,
    job: Job,
    resolved: ResolvedRequest,
    model: ServedModel,
    *,
    seconds: float,
) -> GeneratedImage:
    """The outcome of a job whose picture is there already, and what is to be told of it."""
    made = f"{existing.record.created:%Y-%m-%d %H:%M} UTC"
    note = f"This picture was made at {made}, and is taken from the folder; fresh makes it anew."
    return GeneratedImage(
        picture=existing.picture,
        path=saved.path,
        request=resolved,
        model=model.match.name,
        receipt=receipt(job, resolved, existing.picture),
        seconds=seconds,
        notes=(
            note,
            *saved.notes,
            *([model.match.warning] if model.match.warning else []),
            *surprises.differences(resolved, existing.picture),
            *map(str, resolved.notes),
        ),
        layers=layers_beside(existing.record.path, resolved),
        reused=True,
        spilled=saved.spilled,
    )
