"""A maker of pictures: a request is resolved, sent, checked, described and saved."""

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from vllm_omni_client.errors import BadRequest, OmniError
from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.backend import Backend
from vllm_image_core.errors import ImageError
from vllm_image_core.filename import check_filename
from vllm_image_core.flatness import flat_colour
from vllm_image_core.generated import GeneratedImage
from vllm_image_core.metadata import Metadata
from vllm_image_core.picture import Picture
from vllm_image_core.receipt import receipt
from vllm_image_core.recipe import with_recipe
from vllm_image_core.registry import Registry
from vllm_image_core.request import ImageRequest
from vllm_image_core.resolver import ResolvedRequest, resolve
from vllm_image_core.served import ServedModel, served_model
from vllm_image_core.store import Store
from vllm_image_core.twins import Twins

__all__ = ["Maker", "Record"]

_logger = logging.getLogger(__name__)

_MOST_PIXELS_OVER = 1.1
"""A picture may have this many times the pixels that were asked for before it is refused undecoded."""

_ALWAYS_TAKEN_PIXELS = 4_194_304
"""A picture of up to 2048x2048 is harmless, whatever was asked for: it is kept, and its size told."""

Record = Callable[[GeneratedImage], None]
"""Told of a picture as soon as it is saved, also when whoever waits for it has been cancelled."""


def _unrecorded(_: GeneratedImage) -> None:
    """Keep no record."""


class Maker:
    """Makes pictures on one server and saves them in one folder.

    Args:
        backend: The server.
        store: The folder.
        registry: The models' profiles.
        now: The local time, for file names.
        draw_seed: A seed for a request without one.
        timer: Seconds on a clock that never goes back.
        metadata: What is written into the pictures' files; None for everything.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store,
        registry: Registry,
        *,
        now: Callable[[], datetime],
        draw_seed: Callable[[], int],
        timer: Callable[[], float],
        metadata: Metadata | None = None,
    ) -> None:
        self._backend = backend
        self._store = store
        self._registry = registry
        self._now = now
        self._draw_seed = draw_seed
        self._timer = timer
        self._metadata = metadata or Metadata()
        self._twins = Twins()
        self._model: ServedModel | None = None

    async def model(self) -> ServedModel:
        """Ask the server for its model, and find the profile that fits it."""
        model = served_model(await self._backend.get_models(), self._registry)
        if model != self._model and model.match.warning:
            _logger.warning("%s", model.match.warning)
        self._model = model
        return model

    async def known_model(self) -> ServedModel:
        """The model as the server told it last; asked for when it has not told it yet."""
        return self._model or await self.model()

    async def checked(self, request: ImageRequest) -> ImageRequest:
        """The request with its seed drawn, if it fits the loaded model.

        Raises:
            InvalidRequest: It does not fit.
            OmniError: The server does not tell its model.
        """
        check_filename(request.filename)
        resolved = self._resolved(request, await self.known_model())
        drawn = request.seed is None or request.seed_drawn
        return replace(request, seed=resolved.seed, seed_drawn=drawn)

    async def check_writable(self) -> None:
        """Write a test file, before a GPU works for nothing.

        Raises:
            CannotSave: The folder cannot be written.
        """
        await asyncio.to_thread(self._store.check_writable)

    async def made(self, request: ImageRequest, record: Record = _unrecorded) -> GeneratedImage:
        """Send a checked request, and save what comes back.

        Raises:
            InvalidRequest: The server has changed its model meanwhile, and the new one cannot do this.
            BadPicture: The server sent something that is no picture.
            PictureNotSaved: The picture was made and could not be written; it is in the error.
            OmniError: The server refused, failed, or did not answer.
        """
        started = self._timer()
        model, resolved, reply = await self._answered(request)
        seconds = self._timer() - started
        kept = functools.partial(self._kept, request, model, resolved, reply, seconds)
        saving = asyncio.ensure_future(asyncio.to_thread(kept))
        try:
            return await asyncio.shield(saving)
        except ImageError as error:
            error.add_note(_asked_for(resolved))
            raise
        except asyncio.CancelledError:
            # A picture that the GPU has made is written whole before the cancellation goes on.
            await asyncio.wait([saving])
            raise
        finally:
            if saving.done() and saving.exception() is None:
                record(saving.result())

    async def _answered(
        self, request: ImageRequest
    ) -> tuple[ServedModel, ResolvedRequest, ImageGenerationReply]:
        """Send a request, and once more if the server has changed its model meanwhile."""
        model = await self.known_model()
        try:
            return await self._sent(request, model)
        except BadRequest:
            changed = await self.model()
            if changed.name == model.name:
                raise
            return await self._sent(request, changed)

    async def _sent(
        self, request: ImageRequest, model: ServedModel
    ) -> tuple[ServedModel, ResolvedRequest, ImageGenerationReply]:
        resolved = self._resolved(request, model)
        wire = resolved.to_wire().model_copy(update={"model": model.name})
        try:
            return model, resolved, await self._backend.generate_image(wire)
        except OmniError as error:
            error.add_note(_asked_for(resolved))
            raise

    def _resolved(self, request: ImageRequest, model: ServedModel) -> ResolvedRequest:
        return resolve(request, model.profile, draw_seed=self._draw_seed)

    def _kept(
        self,
        request: ImageRequest,
        model: ServedModel,
        resolved: ResolvedRequest,
        reply: ImageGenerationReply,
        seconds: float,
    ) -> GeneratedImage:
        """Check the picture, write into it how it was made, and save it; runs in a thread."""
        now = self._now()
        received = Picture.check(reply.data[0].bytes, max_pixels=_most_pixels(resolved))
        picture = with_recipe(received, resolved, model=model.match.name, now=now, metadata=self._metadata)
        path = self._store.save(picture, prompt=resolved.prompt, now=now, filename=request.filename)
        return GeneratedImage(
            picture=picture,
            path=path,
            request=resolved,
            model=model.match.name,
            receipt=receipt(request, resolved).confirmed(size=received.size, output_format=received.format),
            seconds=seconds,
            notes=(
                *([model.match.warning] if model.match.warning else []),
                *_surprises(resolved, reply, received),
                *_suspicions(received, resolved.seed, self._twins),
                *map(str, resolved.notes),
            ),
        )


def _asked_for(resolved: ResolvedRequest) -> str:
    return f"Asked for: {resolved.size}, {resolved.num_inference_steps} steps, seed {resolved.seed}."


def _most_pixels(resolved: ResolvedRequest) -> int:
    return max(_ALWAYS_TAKEN_PIXELS, int(_MOST_PIXELS_OVER * resolved.size.pixels))


def _surprises(resolved: ResolvedRequest, reply: ImageGenerationReply, received: Picture) -> Iterator[str]:
    """What came otherwise than it was asked for."""
    if received.size != resolved.size:
        yield f"The server sent {received.size} instead of {resolved.size}."
    if received.format != "png":
        yield f"The server sent {received.format.upper()} instead of PNG."
    if len(reply.data) > 1:
        yield f"The server sent {len(reply.data)} pictures instead of 1; the first was kept."


def _suspicions(received: Picture, seed: int, twins: Twins) -> Iterator[str]:
    """What hints at a failure of the model or the server that it has not told."""
    colour = flat_colour(received)
    if colour is not None:
        looks = "all black" if colour == "#000000" else f"one flat colour, {colour}"
        yield f"The picture is {looks}: the model may have failed without telling. Look at the server's log."
    twin = twins.seed_of(received.bytes, seed=seed)
    if twin is not None:
        yield f"Seed {seed} gave the very same picture as seed {twin}: the server may ignore the seed."
