"""BlockingCalls: the methods of `OmniClient`; how they reach the server is left to it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar, overload

from vllm_omni_client._base import Caller
from vllm_omni_client._protocol import endpoints
from vllm_omni_client._protocol.adaptation import adapt_edit, adapt_generation, with_seed
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.endpoints import Call
from vllm_omni_client._protocol.picture_file import file_for, in_format_of
from vllm_omni_client._protocol.result import finish_file, with_receipt
from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList
from vllm_omni_client.saved import SavedImage
from vllm_omni_client.uploads import InputImage, uploads

T = TypeVar("T")


class BlockingCalls(Caller, ABC):
    """What a vLLM-Omni server can be asked; documented in full at `AsyncCalls`."""

    @abstractmethod
    def _capabilities(self, attempts: Attempts) -> Capabilities:
        """Return what the server can do, learnt within the call's own time if need be."""

    @abstractmethod
    def _send(self, call: Call[T], attempts: Attempts | None = None) -> T:
        """Return the answer to a call, or raise what became of all attempts."""

    @overload
    def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply: ...

    @overload
    def generate_image(
        self, request: ImageGenerationRequest, /, *, into: str | Path, overwrite: bool = False
    ) -> SavedImage: ...

    def generate_image(
        self, request: ImageGenerationRequest, /, *, into: str | Path | None = None, overwrite: bool = False
    ) -> ImageGenerationReply | SavedImage:
        """Draw, also straight into a file; see `AsyncOmniClient.generate_image`."""
        with file_for(request, into, overwrite=overwrite) as file:
            request = in_format_of(request, into)
            wanted = with_seed(request)
            attempts = self._connection.attempts(endpoints.generate(wanted))
            server = self._capabilities(attempts)
            fitted = adapt_generation(
                wanted, server, strict=self._strict, into_file=file is not None, requested=request
            )
            if file is None:
                reply = self._send(endpoints.generate(fitted.sent), attempts)
                return with_receipt(fitted, reply, attempts)
            arrived = self._send(endpoints.generate_into(fitted.sent, file), attempts)
            return finish_file(fitted, file, arrived, attempts)

    @overload
    def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
    ) -> ImageGenerationReply: ...

    @overload
    def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
        into: str | Path,
        overwrite: bool = False,
    ) -> SavedImage: ...

    def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
        into: str | Path | None = None,
        overwrite: bool = False,
    ) -> ImageGenerationReply | SavedImage:
        """Change 1 to 4 pictures, also straight into a file; see `AsyncOmniClient.edit_image`."""
        read = uploads(image, mask_image=mask_image, reference_image=reference_image)
        with file_for(request, into, overwrite=overwrite) as file:
            request = in_format_of(request, into)
            wanted = with_seed(request)
            attempts = self._connection.attempts(endpoints.edit(wanted, ()))
            server = self._capabilities(attempts)
            fitted, pictures = adapt_edit(wanted, read, server, strict=self._strict, requested=request)
            if file is None:
                reply = self._send(endpoints.edit(fitted.sent, pictures), attempts)
                return with_receipt(fitted, reply, attempts)
            arrived = self._send(endpoints.edit_into(fitted.sent, pictures, file), attempts)
            return finish_file(fitted, file, arrived, attempts)

    def capabilities(self) -> Capabilities:
        """Return which fields and routes the server has; see `AsyncOmniClient.capabilities`."""
        known = self._capabilities(self._connection.attempts(endpoints.openapi()))
        if known.source == "unknown":
            self.health_check()
        return known

    def sleep(self, *, level: Literal[1, 2] = 1, stage_ids: Sequence[int] = (0,)) -> bool:
        """Have the server give its GPU memory back; see `AsyncOmniClient.sleep`."""
        return self._send(endpoints.sleep(stage_ids, level))

    def wake_up(self, *, stage_ids: Sequence[int] = (0,)) -> bool:
        """Have the server load its weights again; False when it was not asleep. Needs 0.20 or later."""
        return self._send(endpoints.wake_up(stage_ids))

    def get_models(self) -> ModelList:
        """Return the served names of the server's one model."""
        return self._send(endpoints.models())

    def health_check(self) -> bool:
        """Ask once whether the server can work: True for 200, False for 503; else it is an error."""
        return self._send(endpoints.health())

    def get_version(self) -> str:
        """Return vLLM's version; its first two numbers are those of vLLM-Omni."""
        version = self._send(endpoints.version())
        self._server.hear(version)
        return version

    def get_metrics(self) -> ServerMetrics:
        """Return what the server counts; what it does not tell is None."""
        return self._send(endpoints.server_metrics())
