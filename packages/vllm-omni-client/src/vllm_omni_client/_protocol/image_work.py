"""Describe a generation or an edit from its request to its result, for either client to carry out. No I/O."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from vllm_omni_client._protocol import endpoints
from vllm_omni_client._protocol.adaptation import (
    AdaptedRequest,
    adapt_edit,
    adapt_generation,
    unconfirmed_fields,
    with_seed,
)
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.connection_settings import ConnectionSettings
from vllm_omni_client._protocol.differences import difference, differences
from vllm_omni_client._protocol.endpoints import Call
from vllm_omni_client._protocol.picture_file import PictureFile, ReceivedFile, file_for, with_file_format
from vllm_omni_client.capabilities import EDITS_PATH, GENERATIONS_PATH, Capabilities
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest
from vllm_omni_client.receipt import CallReport
from vllm_omni_client.replies import GenerationMetrics
from vllm_omni_client.saved import SavedImage
from vllm_omni_client.uploads import Upload

Adapted = AdaptedRequest[ImageGenerationRequest] | AdaptedRequest[ImageEditRequest]
ImageCall = Call[ImageGenerationReply | ReceivedFile]


class ImageWork:
    """One generation or edit: send its `call`, as the server supports it, and turn the value into a result.

    Attributes:
        attempts: The attempt record of its call.
    """

    def __init__(
        self,
        attempts: Attempts,
        adapt: Callable[[Capabilities], tuple[Adapted, ImageCall]],
        file: PictureFile | None,
    ) -> None:
        self.attempts = attempts
        self._adapt = adapt
        self._file = file
        self._adapted: Adapted | None = None
        self._server = Capabilities()

    def call(self, server: Capabilities) -> ImageCall:
        """Return the call to send, as the server supports it.

        Raises:
            UnsupportedParameter: In strict mode: this server would silently ignore a field or an image.
        """
        self._server = server
        self._adapted, call = self._adapt(server)
        return call

    def result(self, value: ImageGenerationReply | ReceivedFile) -> ImageGenerationReply | SavedImage:
        """Return the reply, or move the file to its final name, with a receipt of how it came about."""
        if self._adapted is None:
            raise RuntimeError("a result needs a call")
        if isinstance(value, ImageGenerationReply):
            return value.with_receipt(
                self._receipt(
                    self._adapted, *differences(self._adapted.requested, value), metrics=value.metrics
                )
            )
        image, warnings = value.picture, list(difference(self._adapted.requested, value.picture))
        if value.surplus:
            warnings.append(f"The reply had {value.surplus} more images; they were discarded.")
        if self._file is None:
            raise RuntimeError("the image was not written to a file")
        return SavedImage(
            path=self._file.commit(),
            format=image.format,
            size=image.size,
            length=image.length,
            metrics=value.metrics,
            receipt=self._receipt(self._adapted, *warnings, metrics=value.metrics),
        )

    def _receipt(self, adapted: Adapted, *warnings: str, metrics: GenerationMetrics | None) -> CallReport:
        # Only vLLM-Omni sends metrics with an image.
        unconfirmed = () if metrics else unconfirmed_fields(adapted.sent, self._server)
        return CallReport(
            requested=adapted.requested,
            sent=adapted.sent,
            ignored_fields=adapted.ignored,
            unconfirmed_fields=unconfirmed,
            warnings=(*adapted.warnings, *warnings),
            failures=self.attempts.failures,
            elapsed_seconds=self.attempts.elapsed_seconds,
            server=self.attempts.server,
        )


@contextmanager
def image_work(
    request: ImageGenerationRequest | ImageEditRequest,
    inputs: tuple[Upload, ...],
    connection: ConnectionSettings,
    *,
    strict: bool,
    into: str | Path | None = None,
    overwrite: bool = False,
    budget: GenerationBudget | None = None,
) -> Generator[ImageWork]:
    """Begin a generation, or an edit of `inputs`; its file is removed at the end if no result was taken."""
    with file_for(request, into, overwrite=overwrite) as file:

        def adapt(server: Capabilities) -> tuple[Adapted, ImageCall]:
            if isinstance(request, ImageEditRequest):
                requested = with_file_format(request, into)
                edit, images = adapt_edit(
                    with_seed(requested), inputs, server, strict=strict, requested=requested
                )
                return edit, endpoints.edit(edit.sent, images, file)
            requested = with_file_format(request, into)
            generation = adapt_generation(
                with_seed(requested), server, strict=strict, into_file=file is not None, requested=requested
            )
            return generation, endpoints.generate(generation.sent, file)

        path = EDITS_PATH if isinstance(request, ImageEditRequest) else GENERATIONS_PATH
        yield ImageWork(connection.attempts(endpoints.image_route(path), budget), adapt, file)
