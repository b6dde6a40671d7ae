"""A maker of pictures: a request is resolved, sent, checked, described and saved."""

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from weakref import WeakValueDictionary

from vllm_omni_client.errors import BadReply, BadRequest, OmniError, ServerRefused
from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core import surprises
from vllm_image_core.backend import Backend
from vllm_image_core.content_key import ContentKey, content_key
from vllm_image_core.errors import CannotSave, ImageError, PictureNotSaved
from vllm_image_core.filename import check_filename
from vllm_image_core.generated import GeneratedImage
from vllm_image_core.holding import Hold, Record, saved
from vllm_image_core.library import Existing, Library, Saved
from vllm_image_core.metadata import Metadata
from vllm_image_core.picture import Picture
from vllm_image_core.receipt import Receipt, receipt
from vllm_image_core.recipe import recipe_facts, with_recipe
from vllm_image_core.registry import Registry
from vllm_image_core.request import ImageRequest
from vllm_image_core.resolver import ResolvedRequest, resolve
from vllm_image_core.served import ServedModel, served_model
from vllm_image_core.tag import check_tag
from vllm_image_core.twins import Twins

__all__ = ["Job", "Maker"]

_logger = logging.getLogger(__name__)

_VERSION_SECONDS = 10.0
"""A server that is slower to tell its version has none."""

_MOST_PIXELS_OVER = 1.1
"""A picture may have this many times the pixels that were asked for before it is refused undecoded."""

_ALWAYS_TAKEN_PIXELS = 4_194_304
"""A picture of up to 2048x2048 is harmless, whatever was asked for: it is kept, and its size told."""


def _unrecorded(_: GeneratedImage) -> None:
    """Keep no record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A checked request, and what else decides how it is made.

    Attributes:
        request: Its seed is drawn.
        reuse: Whether a picture that is there already will do.
        batch: The id of the batch that it belongs to.
        position: Its place there, from 0.
        hold: What is waited for where the folder does not take the picture, before that is tried again; None
            where nobody waits: the picture then goes to the spill folder.
    """

    request: ImageRequest
    reuse: bool = False
    batch: str | None = None
    position: int | None = None
    hold: Hold | None = None


class Maker:
    """Makes pictures on one server and saves them in one folder.

    Args:
        backend: The server.
        library: The folder.
        registry: The models' profiles.
        now: The local time, for file names.
        draw_seed: A seed for a request without one.
        timer: Seconds on a clock that never goes back.
        metadata: What is written into the pictures' files; None for everything.
    """

    def __init__(
        self,
        backend: Backend,
        library: Library,
        registry: Registry,
        *,
        now: Callable[[], datetime],
        draw_seed: Callable[[], int],
        timer: Callable[[], float],
        metadata: Metadata | None = None,
    ) -> None:
        self._backend = backend
        self._library = library
        self._registry = registry
        self._now = now
        self._draw_seed = draw_seed
        self._timer = timer
        self._metadata = metadata or Metadata()
        self._twins = Twins()
        self._model: ServedModel | None = None
        self._version: str | None = None
        self._version_was_told = False
        self._under_way: WeakValueDictionary[ContentKey, asyncio.Lock] = WeakValueDictionary()

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

    async def checked(self, request: ImageRequest, *, fresh: bool = False) -> Job:
        """The request with its seed drawn, if it fits the loaded model.

        Args:
            request: The caller's own.
            fresh: Whether it is made anew, also when its picture is there.

        Raises:
            InvalidRequest: It does not fit.
            OmniError: The server does not tell its model.
        """
        check_filename(request.filename)
        check_tag(request.tag)
        await self._read_server_version()
        resolved = self._resolved(request, await self.known_model())
        drawn = request.seed is None or request.seed_drawn
        checked = replace(request, seed=resolved.seed, seed_drawn=drawn)
        return Job(request=checked, reuse=not (fresh or drawn))

    async def check_writable(self, requests: Iterable[ImageRequest]) -> None:
        """Write a test file and look at the free space, before a GPU works for nothing.

        Raises:
            CannotSave: The folder cannot be written, or has too little space.
        """
        model = await self.known_model()
        pixels = sum(self._resolved(request, model).size.pixels for request in requests)
        await asyncio.to_thread(self._library.check_writable, pixels=pixels)

    async def made(self, job: Job, record: Record = _unrecorded) -> GeneratedImage:
        """Send a checked request, and save what comes back; or take the picture that is there.

        Of equal requests under way at the same time, one is sent.

        Raises:
            NotEnoughSpace: The disk has become too full meanwhile; nothing was sent.
            InvalidRequest: The server has changed its model meanwhile, and the new one cannot do this.
            BadPicture: The server sent something that is no picture.
            PictureNotSaved: The picture was made and could not be written; it is in the error.
            OmniError: The server refused, failed, or did not answer.
        """
        if self._model is None:  # a batch that goes on while its server is away
            await self._read_server_version()
        if not job.reuse:
            return await self._made_anew(job, record)
        started = self._timer()
        model = await self.known_model()
        resolved = self._resolved(job.request, model)
        key = self._key(resolved, model)
        async with self._under_way.setdefault(key, asyncio.Lock()):
            existing = await asyncio.to_thread(self._library.existing, key)
            if existing is None:
                return await self._made_anew(job, record)
            saved = await asyncio.to_thread(self._placed, existing, job.request.filename)
        image = _reused(existing, saved, job, resolved, model, seconds=self._timer() - started)
        record(image)
        return image

    def _placed(self, existing: Existing, filename: str | None) -> Saved:
        if filename is None:
            return Saved(path=existing.record.path)
        return self._library.named(existing, filename=filename, now=self._now())

    async def _made_anew(self, job: Job, record: Record) -> GeneratedImage:
        model = await self.known_model()
        pixels = self._resolved(job.request, model).size.pixels
        await asyncio.to_thread(self._check_room, job, pixels=pixels)
        started = self._timer()
        model, resolved, reply = await self._answered(job.request)
        seconds = self._timer() - started
        kept = functools.partial(self._kept, job, reply, model=model, resolved=resolved, seconds=seconds)
        try:
            return await saved(kept, record, job.hold)
        except ImageError as error:
            error.add_note(_asked_for(resolved))
            raise

    def _check_there(self, picture: Picture) -> None:
        try:
            self._library.check_there()
        except CannotSave as error:
            raise PictureNotSaved(error.message, picture=picture, next_step=error.next_step) from error

    def _check_room(self, job: Job, *, pixels: int) -> None:
        if job.hold is not None:
            self._library.check_there()
        self._library.check_space(pixels=pixels)

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

    def _key(self, resolved: ResolvedRequest, model: ServedModel) -> ContentKey:
        return content_key(resolved, model=model.name, server_version=self._version)

    async def _read_server_version(self) -> None:
        """Ask for the server's version, once; it stays None where the server does not tell it in time."""
        if self._version_was_told:
            return
        try:
            async with asyncio.timeout(_VERSION_SECONDS):
                self._version = await self._backend.get_version()
        except (BadReply, ServerRefused, TimeoutError):
            pass  # it has none to tell
        except OmniError:
            return  # it could not be asked, and is asked again
        self._version_was_told = True

    def _kept(
        self,
        job: Job,
        reply: ImageGenerationReply,
        *,
        model: ServedModel,
        resolved: ResolvedRequest,
        seconds: float,
        spill: bool = True,
    ) -> GeneratedImage:
        """Check the picture, write into it how it was made, and save it; runs in a thread."""
        now = self._now()
        received = Picture.check(reply.data[0].bytes, max_pixels=_most_pixels(resolved))
        told = _receipt(job, resolved, received)
        more = {
            "key": self._key(resolved, model),
            "server_version": self._version,
            "seconds": round(seconds, 3),
            "batch": job.batch,
            "position": job.position,
            "tag": job.request.tag,
            "receipt": told.compact(),
        }
        facts = recipe_facts(resolved, model=model.match.name, now=now, more=more)
        picture = with_recipe(
            received, resolved, model=model.match.name, facts=facts, metadata=self._metadata
        )
        if not spill:
            self._check_there(picture)
        saved = self._library.save(
            picture, facts, prompt=resolved.prompt, now=now, filename=job.request.filename, spill=spill
        )
        return GeneratedImage(
            picture=picture,
            path=saved.path,
            request=resolved,
            model=model.match.name,
            receipt=told,
            seconds=seconds,
            notes=(
                *saved.notes,
                *surprises.left_out(picture, resolved, self._metadata),
                *([model.match.warning] if model.match.warning else []),
                *surprises.in_reply(resolved, reply, received),
                *surprises.suspicions(received, resolved.seed, self._twins),
                *map(str, resolved.notes),
            ),
            spilled=saved.spilled,
        )


def _receipt(job: Job, resolved: ResolvedRequest, received: Picture) -> Receipt:
    sent = receipt(job.request, resolved)
    return sent.confirmed(size=received.size, output_format=received.format)


def _reused(
    existing: Existing,
    saved: Saved,
    job: Job,
    resolved: ResolvedRequest,
    model: ServedModel,
    *,
    seconds: float,
) -> GeneratedImage:
    made = f"{existing.record.created:%Y-%m-%d %H:%M} UTC"
    note = f"This picture was made at {made}, and is taken from the folder; fresh makes it anew."
    return GeneratedImage(
        picture=existing.picture,
        path=saved.path,
        request=resolved,
        model=model.match.name,
        receipt=_receipt(job, resolved, existing.picture),
        seconds=seconds,
        notes=(
            note,
            *saved.notes,
            *([model.match.warning] if model.match.warning else []),
            *surprises.differences(resolved, existing.picture),
            *map(str, resolved.notes),
        ),
        reused=True,
        spilled=saved.spilled,
    )


def _asked_for(resolved: ResolvedRequest) -> str:
    return f"Asked for: {resolved.size}, {resolved.num_inference_steps} steps, seed {resolved.seed}."


def _most_pixels(resolved: ResolvedRequest) -> int:
    return max(_ALWAYS_TAKEN_PIXELS, int(_MOST_PIXELS_OVER * resolved.size.pixels))
