"""Outcomes: replies with the receipt of how they came about."""

from typing import TypeVar

from vllm_omni_client._protocol.adaptation import Fitted
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.differences import difference, differences
from vllm_omni_client._protocol.picture_file import Arrived, PictureFile
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest
from vllm_omni_client.receipt import Receipt
from vllm_omni_client.saved import SavedImage

Request = TypeVar("Request", ImageGenerationRequest, ImageEditRequest)


def with_receipt(
    fitted: Fitted[Request], reply: ImageGenerationReply, attempts: Attempts
) -> ImageGenerationReply:
    """Write on a reply how it came about."""
    return reply.with_receipt(_receipt(fitted, attempts, differences(fitted.requested, reply)))


def saved(fitted: Fitted[Request], file: PictureFile, arrived: Arrived, attempts: Attempts) -> SavedImage:
    """Give the file its name, and say how it came about.

    Raises:
        OSError: The file cannot be put in its place.
    """
    picture = arrived.picture
    warnings = list(difference(fitted.requested, picture))
    if arrived.surplus:
        warnings.append(f"{arrived.surplus} more pictures came, and were not kept.")
    return SavedImage(
        path=file.commit(),
        format=picture.format,
        size=picture.size,
        length=picture.length,
        metrics=arrived.metrics,
        receipt=_receipt(fitted, attempts, tuple(warnings)),
    )


def _receipt(fitted: Fitted[Request], attempts: Attempts, warnings: tuple[str, ...]) -> Receipt:
    return Receipt(
        requested=fitted.requested,
        sent=fitted.sent,
        ignored=fitted.ignored,
        warnings=(*fitted.warnings, *warnings),
        failures=attempts.failures,
        elapsed_seconds=attempts.elapsed_seconds,
        server=attempts.server,
    )
