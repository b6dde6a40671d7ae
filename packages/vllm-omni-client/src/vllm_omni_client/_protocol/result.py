"""Outcomes: replies with the receipt of how they came about."""

from typing import TypeVar

from vllm_omni_client._protocol.adaptation import Adapted
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.differences import difference, differences
from vllm_omni_client._protocol.picture_file import PictureFile, ReceivedFile
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest
from vllm_omni_client.receipt import CallReport
from vllm_omni_client.saved import SavedImage

Request = TypeVar("Request", ImageGenerationRequest, ImageEditRequest)


def with_receipt(
    fitted: Adapted[Request], reply: ImageGenerationReply, attempts: Attempts
) -> ImageGenerationReply:
    """Write on a reply how it came about."""
    return reply.with_receipt(_receipt(fitted, attempts, differences(fitted.requested, reply)))


def finish_file(
    fitted: Adapted[Request], file: PictureFile, arrived: ReceivedFile, attempts: Attempts
) -> SavedImage:
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


def _receipt(fitted: Adapted[Request], attempts: Attempts, warnings: tuple[str, ...]) -> CallReport:
    return CallReport(
        requested=fitted.requested,
        sent=fitted.sent,
        ignored_fields=fitted.ignored,
        warnings=(*fitted.warnings, *warnings),
        failures=attempts.failures,
        elapsed_seconds=attempts.elapsed_seconds,
        server=attempts.server,
    )
