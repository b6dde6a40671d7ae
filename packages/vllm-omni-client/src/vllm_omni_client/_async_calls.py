"""AsyncCalls: the methods of `AsyncOmniClient`; how they reach the server is left to it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
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
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList
from vllm_omni_client.saved import SavedImage
from vllm_omni_client.uploads import InputImage, Upload, uploads

T = TypeVar("T")


class AsyncCalls(Caller, ABC):
    """What a vLLM-Omni server can be asked, in asyncio."""

    def with_budget(self, budget: GenerationBudget) -> "OneImage":
        """Return this client for one image that others repeat, too: all spend from one budget.

        Args:
            budget: What the image may still cost; it also takes down what was tried.
        """
        return OneImage(partial(self._generate, budget=budget), partial(self._edit, budget=budget))

    @abstractmethod
    async def _capabilities(self, attempts: Attempts) -> Capabilities:
        """Return what the server can do, learnt within the call's own time if need be."""

    @abstractmethod
    async def _send(self, call: Call[T], attempts: Attempts | None = None) -> T:
        """Return the answer to a call, or raise what became of all attempts."""

    @overload
    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply: ...

    @overload
    async def generate_image(
        self, request: ImageGenerationRequest, /, *, into: str | Path, overwrite: bool = False
    ) -> SavedImage: ...

    async def generate_image(
        self, request: ImageGenerationRequest, /, *, into: str | Path | None = None, overwrite: bool = False
    ) -> ImageGenerationReply | SavedImage:
        """Draw; what may have cost GPU time is sent again once at most, with the same seed.

        Without a seed in the request one is drawn here: the reply's `seed` tells it.

        Args:
            request: What to draw.
            into: A file for the picture; without an `output_format`, ".jpg" makes a JPEG and ".webp" a WebP.
                It is written while it arrives, whole or not at all, and its own
                bytes are asked for where the server has that and no metrics per stage are wanted.
            overwrite: Whether a file that is there already is replaced.

        Raises:
            UnsupportedParameter: In strict mode: this server would ignore a field in silence.
            InvalidParameter: `into` cannot be written, or more than one picture is asked for.
            FileExistsError: Someone else has made that file while the picture was drawn.
            OSError: The file cannot be written, as when the disk is full.
        """
        return await self._generate(request, into, overwrite=overwrite)

    async def _generate(
        self,
        request: ImageGenerationRequest,
        into: str | Path | None = None,
        *,
        overwrite: bool = False,
        budget: GenerationBudget | None = None,
    ) -> ImageGenerationReply | SavedImage:
        with file_for(request, into, overwrite=overwrite) as file:
            request = in_format_of(request, into)
            wanted = with_seed(request)
            attempts = self._connection.attempts(endpoints.generate(wanted), budget)
            server = await self._capabilities(attempts)
            fitted = adapt_generation(
                wanted, server, strict=self._strict, into_file=file is not None, requested=request
            )
            if file is None:
                reply = await self._send(endpoints.generate(fitted.sent), attempts)
                return with_receipt(fitted, reply, attempts)
            arrived = await self._send(endpoints.generate_into(fitted.sent, file), attempts)
            return finish_file(fitted, file, arrived, attempts)

    @overload
    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
    ) -> ImageGenerationReply: ...

    @overload
    async def edit_image(
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

    async def edit_image(
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
        """Change pictures; what may have cost GPU time is sent again once at most, with the same seed.

        The server goes on with an edit whose client has gone away.

        Args:
            request: What to change.
            image: 1 to 4 pictures to start from, each a path, bytes, a file opened in binary mode, or a
                Pillow image. They are uploaded; an address is refused.
            mask_image: White where the picture may change, for models that paint in.
            reference_image: A picture to take over from, for models that do.
            into: A file for the picture, written while it arrives, whole or not at all.
            overwrite: Whether a file that is there already is replaced.

        Raises:
            UnsupportedParameter: In strict mode: this server would ignore a field in silence.
            InvalidParameter: A picture cannot be read, `into` cannot be written, or more than one picture
                is asked for.
            FileExistsError: Someone else has made that file while the picture was drawn.
            OSError: The file cannot be written, as when the disk is full.
        """
        read = await asyncio.to_thread(uploads, image, mask_image=mask_image, reference_image=reference_image)
        return await self._edit(request, read, into, overwrite=overwrite)

    async def _edit(
        self,
        request: ImageEditRequest,
        read: tuple[Upload, ...],
        into: str | Path | None = None,
        *,
        overwrite: bool = False,
        budget: GenerationBudget | None = None,
    ) -> ImageGenerationReply | SavedImage:
        with file_for(request, into, overwrite=overwrite) as file:
            request = in_format_of(request, into)
            wanted = with_seed(request)
            attempts = self._connection.attempts(endpoints.edit(wanted, ()), budget)
            server = await self._capabilities(attempts)
            fitted, pictures = adapt_edit(wanted, read, server, strict=self._strict, requested=request)
            if file is None:
                reply = await self._send(endpoints.edit(fitted.sent, pictures), attempts)
                return with_receipt(fitted, reply, attempts)
            arrived = await self._send(endpoints.edit_into(fitted.sent, pictures, file), attempts)
            return finish_file(fitted, file, arrived, attempts)

    async def capabilities(self) -> Capabilities:
        """Return which fields and routes the server has; asked once, and again when it may have changed.

        Raises:
            ServerUnreachable: No one answers.
        """
        known = await self._capabilities(self._connection.attempts(endpoints.openapi()))
        if known.source == "unknown":
            await self.health_check()
        return known

    async def sleep(self, *, level: Literal[1, 2] = 1, stage_ids: Sequence[int] = (0,)) -> bool:
        """Have the server give its GPU memory back; True when it has. Needs 0.20 or later.

        Requests for pictures wait until it wakes.

        Args:
            level: 1 moves the weights to main memory, from where `wake_up` brings them back. 2, the
                server's own default, drops them; 0.30.0 then has to be started anew.
            stage_ids: Which stages; a server that only draws has the one.
        """
        return await self._send(endpoints.sleep(stage_ids, level))

    async def wake_up(self, *, stage_ids: Sequence[int] = (0,)) -> bool:
        """Have the server load its weights again; False when it was not asleep. Needs 0.20 or later.

        Raises:
            ServerError: It has dropped its weights (level 2) and cannot load them.
        """
        return await self._send(endpoints.wake_up(stage_ids))

    async def get_models(self) -> ModelList:
        """Return the served names of the server's one model."""
        return await self._send(endpoints.models())

    async def health_check(self) -> bool:
        """Ask once whether the server can work: True for 200, False for 503.

        Raises:
            ServerUnreachable: No one answers.
        """
        return await self._send(endpoints.health())

    async def get_version(self) -> str:
        """Return vLLM's version; its first two numbers are those of vLLM-Omni."""
        version = await self._send(endpoints.version())
        self._server.hear(version)
        return version

    async def get_metrics(self) -> ServerMetrics:
        """Return what the server counts; what it does not tell is None."""
        return await self._send(endpoints.server_metrics())


class OneImage:
    """A client for one image, whose budget it spends from; see `AsyncOmniClient.with_budget`.

    Args:
        generate: Draws.
        edit: Changes images that have been read.
    """

    def __init__(
        self,
        generate: Callable[[ImageGenerationRequest], Awaitable[ImageGenerationReply | SavedImage]],
        edit: Callable[[ImageEditRequest, tuple[Upload, ...]], Awaitable[ImageGenerationReply | SavedImage]],
    ) -> None:
        self._generate = generate
        self._edit = edit

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        """Draw, as `AsyncOmniClient.generate_image` does."""
        return _in_memory(await self._generate(request))

    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: InputImage | Sequence[InputImage],
        *,
        mask_image: InputImage | None = None,
        reference_image: InputImage | None = None,
    ) -> ImageGenerationReply:
        """Change images, as `AsyncOmniClient.edit_image` does."""
        read = await asyncio.to_thread(uploads, image, mask_image=mask_image, reference_image=reference_image)
        return _in_memory(await self._edit(request, read))


def _in_memory(reply: ImageGenerationReply | SavedImage) -> ImageGenerationReply:
    if isinstance(reply, SavedImage):
        raise TypeError("an image went to a file that nobody asked for")
    return reply
