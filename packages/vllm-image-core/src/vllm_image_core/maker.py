"""A maker of pictures: a request is resolved, sent, checked, described and saved."""

import asyncio
import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from weakref import WeakValueDictionary

from vllm_omni_client.errors import BadRequest, OmniError
from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core import surprises
from vllm_image_core.batch.holding import Record, saved
from vllm_image_core.content_key import ContentKey, content_key
from vllm_image_core.edit import EditRequest
from vllm_image_core.editing.layers import with_layers
from vllm_image_core.editing.making import facts_of, metadata_of, readied
from vllm_image_core.editing.work import work_of
from vllm_image_core.errors import CannotSave, ImageError, PictureNotSaved
from vllm_image_core.estimates.calibration import Made
from vllm_image_core.estimates.speeds import Speeds
from vllm_image_core.estimates.work import Work
from vllm_image_core.files.filename import check_filename
from vllm_image_core.fleet import Fleet
from vllm_image_core.formats.twins import Twins
from vllm_image_core.generated import GeneratedImage
from vllm_image_core.job import Job
from vllm_image_core.library import Existing, Library, Saved
from vllm_image_core.loaded_model import LoadedModel
from vllm_image_core.picture import Picture
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recipe import recipe_facts, with_recipe
from vllm_image_core.registry import Registry
from vllm_image_core.request import ImageRequest
from vllm_image_core.resolver import ResolvedRequest
from vllm_image_core.reuse import receipt, reused
from vllm_image_core.sending import sent
from vllm_image_core.served import ServedModel
from vllm_image_core.tag import check_tag

__all__ = ["Maker"]

_MOST_PIXELS_OVER = 1.1
"""A picture may have this many times the pixels that were asked for before it is refused undecoded."""

_ALWAYS_TAKEN_PIXELS = 4_194_304
"""A picture of up to 2048x2048 is harmless, whatever was asked for: it is kept, and its size told."""


def _unrecorded(_: GeneratedImage) -> None:
    """Keep no record."""


class Maker:
    """Makes pictures on one server and saves them in one folder.

    Args:
        backend: The servers.
        library: The folder.
        registry: The models' profiles.
        now: The local time, for file names.
        draw_seed: A seed for a request without one.
        timer: Seconds on a clock that never goes back.
        metadata: What is written into the pictures' files; None for everything.
        speeds: Told of the servers, and of each picture that one has made and that is saved.
    """

    def __init__(
        self,
        backend: Fleet,
        library: Library,
        registry: Registry,
        speeds: Speeds,
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
        self._timer = timer
        self._metadata = metadata or Metadata()
        self._speeds = speeds
        self._twins = Twins()
        self._loaded = LoadedModel(backend, registry, speeds, draw_seed=draw_seed)
        self._under_way: WeakValueDictionary[ContentKey, asyncio.Lock] = WeakValueDictionary()

    async def model(self) -> ServedModel:
        """Ask the server for its model, and find the profile that fits it."""
        return await self._loaded.asked()

    async def known_model(self) -> ServedModel:
        """The model as the server told it last; asked for when it has not told it yet."""
        return await self._loaded.known()

    async def met(self) -> ServedModel:
        """The same, with what is kept of the servers' speed with it, which is read once.

        Raises:
            OmniError: The server does not tell its model.
        """
        return await self._loaded.met()

    def work(self, request: ImageRequest) -> Work | None:
        """What a checked request asks of a GPU; None while no model is known, or one that cannot do it."""
        return self._loaded.work(request)

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
        model = await self.met()
        request = await readied(request, model.profile, self._registry)
        resolved = self._resolved(request, model)
        drawn = request.seed is None or request.seed_drawn
        checked = replace(request, seed=resolved.seed, seed_drawn=drawn)
        return Job(request=checked, reuse=not (fresh or drawn))

    async def check_writable(self, requests: Iterable[ImageRequest]) -> None:
        """Write a test file and look at the free space, before a GPU works for nothing.

        Raises:
            CannotSave: The folder cannot be written, or has too little space.
        """
        model = await self.known_model()
        await asyncio.to_thread(self._check_writable, requests, model)

    def _check_writable(self, requests: Iterable[ImageRequest], model: ServedModel) -> None:
        """Look at the folder, in a thread: the pictures of edits tell the sizes of what is made of them."""
        pixels = sum(self._resolved(request, model).size.pixels for request in requests)
        self._library.check_writable(pixels=pixels)

    async def made(self, job: Job, record: Record = _unrecorded) -> GeneratedImage:
        """Send a checked request, and save what comes back; or take the picture that is there.

        Of equal requests under way at the same time, one is sent.

        Raises:
            NotEnoughSpace: The disk has become too full meanwhile; nothing was sent.
            InvalidRequest: The server has changed its model meanwhile, and the new one cannot do this; or a
                picture that an edit starts from is not what it was.
            BadPicture: The server sent something that is no picture.
            PictureNotSaved: The picture was made and could not be written; it is in the error.
            OmniError: The server refused, failed, or did not answer.
        """
        await self.met()  # a batch may go on that has begun while its server was away
        job = await self._with_pictures(job)
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
        image = reused(existing, saved, job, resolved, model, seconds=self._timer() - started)
        record(image)
        return image

    async def _with_pictures(self, job: Job) -> Job:
        """The job with the pictures of an edit read, once for all that follows."""
        if not isinstance(job.request, EditRequest):
            return job
        if job.hold is not None:  # a folder that is away has its pictures with it
            await asyncio.to_thread(self._library.check_there)
        model = await self.known_model()
        return replace(job, request=await readied(job.request, model.profile, self._registry))

    def _placed(self, existing: Existing, filename: str | None) -> Saved:
        if filename is None:
            return Saved(path=existing.record.path)
        return self._library.named(existing, filename=filename, now=self._now())

    async def _made_anew(self, job: Job, record: Record) -> GeneratedImage:
        model = await self.known_model()
        pixels = self._resolved(job.request, model).size.pixels
        await asyncio.to_thread(self._check_room, job, pixels=pixels)
        started = self._timer()
        model, resolved, reply = await self._answered(job)
        ended = self._timer()
        kept = functools.partial(
            self._kept, job, reply, model=model, resolved=resolved, seconds=ended - started, ended=ended
        )
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

    async def _answered(self, job: Job) -> tuple[ServedModel, ResolvedRequest, ImageGenerationReply]:
        """Send a request, and once more if the server has changed its model meanwhile."""
        model = await self.known_model()
        try:
            return await self._sent(job, model)
        except BadRequest:
            changed = await self.model()
            if changed.name == model.name:
                raise
            return await self._sent(job, changed)

    async def _sent(
        self, job: Job, model: ServedModel
    ) -> tuple[ServedModel, ResolvedRequest, ImageGenerationReply]:
        resolved = self._resolved(job.request, model)
        try:
            cost = self._speeds.cost(work_of(resolved, model.profile))
            reply = await sent(
                self._backend,
                resolved,
                asked=job.request,
                model=model.name,
                cost=cost,
                patient=job.batch is not None,
                budget=job.budget,
            )
        except OmniError as error:
            if job.budget.attempts > 1:
                error.add_note(f"Tried {job.budget.attempts} times.")
            error.add_note(_asked_for(resolved))
            raise
        return model, resolved, reply

    def _resolved(self, request: ImageRequest, model: ServedModel) -> ResolvedRequest:
        return self._loaded.resolved(request, model)

    def _key(self, resolved: ResolvedRequest, model: ServedModel) -> ContentKey:
        return content_key(resolved, model=model.name, server_version=self._loaded.version)

    def _kept(
        self,
        job: Job,
        reply: ImageGenerationReply,
        *,
        model: ServedModel,
        resolved: ResolvedRequest,
        seconds: float,
        ended: float,
        spill: bool = True,
    ) -> GeneratedImage:
        """Check the picture, write into it how it was made, and save it; runs in a thread."""
        now = self._now()
        received = Picture.check(reply.data[0].bytes, max_pixels=_most_pixels(resolved))
        told = receipt(job, resolved, received)
        server = _server(reply)
        more = {
            "key": self._key(resolved, model),
            "server": server,
            "server_version": self._loaded.version_of(server),
            "seconds": round(seconds, 3),
            "batch": job.batch,
            "position": job.position,
            "tag": job.request.tag,
            "receipt": told.compact(),
            **facts_of(resolved),
        }
        facts = recipe_facts(resolved, model=model.match.name, now=now, more=more)
        metadata = metadata_of(self._metadata, resolved)
        picture = with_recipe(received, resolved, model=model.match.name, facts=facts, metadata=metadata)
        if not spill:
            self._check_there(picture)
        saved = self._library.save(
            picture, facts, prompt=resolved.prompt, now=now, filename=job.request.filename, spill=spill
        )
        work, origin = work_of(resolved, model.profile), self._loaded.origin(model, server=server)
        self._speeds.made(
            Made.told_by(
                reply,
                origin=replace(origin, task=work.task),
                profile=model.profile,
                work=work,
                ended=ended,
                seconds=seconds,
                parallel=self._backend.parallel_at(origin.server),
            )
        )
        image = GeneratedImage(
            picture=picture,
            path=saved.path,
            request=resolved,
            model=model.match.name,
            receipt=told,
            seconds=seconds,
            server=server,
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
        return with_layers(image, reply, self._library, facts=facts, metadata=metadata, now=now)


def _server(reply: ImageGenerationReply) -> str | None:
    return reply.receipt.server or None if reply.receipt else None


def _asked_for(resolved: ResolvedRequest) -> str:
    return f"Asked for: {resolved.size}, {resolved.num_inference_steps} steps, seed {resolved.seed}."


def _most_pixels(resolved: ResolvedRequest) -> int:
    return max(_ALWAYS_TAKEN_PIXELS, int(_MOST_PIXELS_OVER * resolved.size.pixels))
