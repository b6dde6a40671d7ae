"""Define a job, resolved once, and save its image even if the folder fails or the caller is cancelled."""

import asyncio
import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.models import ImageGenerationRequest

from vllm_image_core.errors import PictureNotSaved
from vllm_image_core.estimation.work import Work
from vllm_image_core.models.served import ServedModel
from vllm_image_core.requests.content_hash import ContentKey, content_key
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest

_logger = logging.getLogger(__name__)

Record = Callable[[GeneratedImage], None]
"""Called with an image as soon as it is saved, even if the caller was cancelled meanwhile."""

Hold = Callable[[PictureNotSaved], Awaitable[bool]]
"""Waits until saving an image may be tried again; False if the wait has ended without success."""


class SaveImage(Protocol):
    """Saves an image; with `spill`, in the spill folder if its own folder fails. Blocks on the disk."""

    def __call__(self, *, spill: bool) -> GeneratedImage:
        """Save the image.

        Raises:
            PictureNotSaved: It could not be written.
        """
        ...


async def save_guarded(save: SaveImage, record: Record, hold: Hold | None) -> GeneratedImage:
    """Save an image; retry as long as `hold` returns True, then use the spill folder.

    Raises:
        PictureNotSaved: Neither folder could take it.
    """
    spilled = functools.partial(save, spill=True)
    while hold is not None:
        try:
            return await _save_completely(functools.partial(save, spill=False), record, otherwise=spilled)
        except PictureNotSaved as error:
            try:
                again = await hold(error)
            except asyncio.CancelledError:
                try:
                    await _save_completely(spilled, record)
                except PictureNotSaved as lost:  # nobody waits for it any longer
                    _logger.warning("An image is lost: %s", lost.message)
                raise
        if not again:
            break
    return await _save_completely(spilled, record)


async def _save_completely(
    save: Callable[[], GeneratedImage],
    record: Record,
    *,
    otherwise: Callable[[], GeneratedImage] | None = None,
) -> GeneratedImage:
    """Save in a thread; on cancellation, finish saving, or try `otherwise`, before raising it."""
    saving = _in_thread(save)
    try:
        return await asyncio.shield(saving)
    except asyncio.CancelledError:
        await asyncio.wait([saving])
        if otherwise is not None and isinstance(saving.exception(), PictureNotSaved):
            saving = _in_thread(otherwise)
            await asyncio.wait([saving])
        raise
    finally:
        if saving.done() and saving.exception() is None:
            record(saving.result())


def _in_thread(save: Callable[[], GeneratedImage]) -> asyncio.Future[GeneratedImage]:
    """Start saving in a thread, as `asyncio.to_thread` does, but without the cost of a task."""
    context = contextvars.copy_context()
    return asyncio.get_running_loop().run_in_executor(None, context.run, save)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request, and how to run it.

    Attributes:
        request: The request.
        reuse: Whether an existing image may be returned.
        batch: Id of the batch that it belongs to.
        position: Its position in the batch, from 0.
        hold: Awaited before saving is retried if the folder cannot take the image; None to use the spill
            folder at once.
        budget: What the image may still cost, and what was tried for it.
    """

    request: ImageRequest
    reuse: bool = False
    batch: str | None = None
    position: int | None = None
    hold: Hold | None = None
    budget: GenerationBudget = field(default_factory=GenerationBudget)


@dataclass(frozen=True, kw_only=True)  # without slots, so that properties can be cached
class ResolvedJob(Job):
    """A job whose request was resolved for a model; all later steps read the result from here.

    Attributes:
        resolved: What will be sent.
        model: The model that it was resolved for.
        server_version: The servers' version; None if they have not reported it.
        work: What it costs the GPU.
    """

    resolved: ResolvedRequest
    model: ServedModel
    server_version: str | None
    work: Work

    @cached_property
    def key(self) -> ContentKey:
        """The content hash of what will be sent."""
        return content_key(
            self.resolved, model=self.model.name, server_version=self.server_version, wire=self.wire
        )

    @cached_property
    def wire(self) -> ImageGenerationRequest | ImageEditRequest:
        """The request as it is sent, without the images of an edit."""
        return self.resolved.sent_request(model=self.model.name)
