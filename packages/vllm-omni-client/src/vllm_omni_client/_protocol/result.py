"""Attach a CallReport to each reply and saved file."""

from typing import TypeVar

from vllm_omni_client._protocol.adaptation import AdaptedRequest
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.differences import difference, differences
from vllm_omni_client._protocol.picture_file import PictureFile, ReceivedFile
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest
from vllm_omni_client.receipt import CallReport
from vllm_omni_client.saved import SavedImage

Request = TypeVar("Request", ImageGenerationRequest, ImageEditRequest)


def with_receipt(
    adapted: AdaptedRequest[Request], reply: ImageGenerationReply, attempts: Attempts
) -> ImageGenerationReply:
    """Return the reply with a receipt of how it came about."""
    return reply.with_receipt(_receipt(adapted, attempts, differences(adapted.requested, reply)))


def commit_file(
    adapted: AdaptedRequest[Request], file: PictureFile, received: ReceivedFile, attempts: Attempts
) -> SavedImage:
    """Move the file to its final name and return it with a receipt."""
    image = received.picture
    warnings = list(difference(adapted.requested, image))
    if received.surplus:
        warnings.append(f"{received.surplus} further images received and were discarded.")
    return SavedImage(
        path=file.commit(),
        format=image.format,
        size=image.size,
        length=image.length,
        metrics=received.metrics,
        receipt=_receipt(adapted, attempts, tuple(warnings)),
    )


def _receipt(adapted: AdaptedRequest[Request], attempts: Attempts, warnings: tuple[str, ...]) -> CallReport:
    return CallReport(
        requested=adapted.requested,
        sent=adapted.sent,
        ignored_fields=adapted.ignored,
        warnings=(*adapted.warnings, *warnings),
        failures=attempts.failures,
        elapsed_seconds=attempts.elapsed_seconds,
        server=attempts.server,
    )
