"""Generate images: resolve a request, send it, check and describe the result, and save it."""

import asyncio
import functools
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

from vllm_omni_client.errors import BadRequest, OmniError
from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.errors import CannotSave, ImageError, IndexUnavailable, PictureNotSaved
from vllm_image_core.estimation.calibration import CompletedImage
from vllm_image_core.estimation.service_times import ServiceTimes
from vllm_image_core.estimation.work import Work
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.generation import warnings
from vllm_image_core.generation.job import Job, Record, ResolvedJob, save_guarded
from vllm_image_core.generation.layers import existing_layers, with_layers
from vllm_image_core.generation.loaded_model import LoadedModel
from vllm_image_core.generation.operations import send
from vllm_image_core.generation.received_image import confirmed_receipt, receive_image
from vllm_image_core.imaging.duplicates import DuplicateDetector
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.requests.content_hash import ContentKey
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.limits import check_tag
from vllm_image_core.storage.library import Existing, Library, Saved

_ROOM_SECONDS: Final = 0.25
"""For how long a check of the folder and its free space, made after an image was saved, is valid."""

_NO_ROOM: Final[tuple[float, int]] = (-math.inf, 0)
"""When the folder was checked last, and for how many pixels: never."""


def _record_nothing(_: GeneratedImage) -> None:
    """Record nothing."""


def _start_nothing(_: Work) -> None:
    """Start nothing."""


class Generator:
    """Generates images on the servers and saves them in one folder.

    Args:
        backend: The servers.
        library: The folder.
        loaded: The model that the servers have.
        now: Returns the local time, for file names.
        timer: Returns seconds on a clock that never goes back.
        metadata: What to write into image files; None for everything.
        speeds: Learns from each image that was generated and saved.
    """

    def __init__(
        self,
        backend: Fleet,
        library: Library,
        loaded: LoadedModel,
        speeds: ServiceTimes,
        *,
        now: Callable[[], datetime],
        timer: Callable[[], float],
        metadata: Metadata | None = None,
    ) -> None:
        self._backend = backend
        self._library = library
        self._now = now
        self._timer = timer
        self._metadata = metadata or Metadata()
        self._speeds = speeds
        self._duplicates = DuplicateDetector()
        self._loaded = loaded
        self._in_progress: WeakValueDictionary[ContentKey, asyncio.Lock] = WeakValueDictionary()
        self._room = _NO_ROOM

    async def check(self, request: ImageRequest, *, fresh: bool = False) -> ResolvedJob:
        """Check a request against the loaded model, draw its seed, and return it as a job.

        Args:
            request: The caller's request.
            fresh: Whether to generate the image even if it already exists.

        Raises:
            InvalidRequest: It does not fit the model.
            OmniError: The server does not say which model it serves.
        """
        self._library.check_subfolder(request.filename)
        check_tag(request.tag)
        reuse = not (fresh or request.seed is None or request.seed_drawn)
        return await self._loaded.resolve(Job(request=request, reuse=reuse))

    async def generate(
        self, job: Job, record: Record = _record_nothing, *, on_start: Callable[[Work], None] = _start_nothing
    ) -> GeneratedImage:
        """Send a checked request and save the result, or return the image if it already exists.

        If equal requests are in progress at the same time, only one is sent.

        Args:
            job: The request. It is resolved again if the servers have another model by now.
            record: Called with the image as soon as it is saved.
            on_start: Called with the work of the image before anything is sent.

        Raises:
            CannotSave: The folder of a batch is missing, and with it the stored input images of an edit.
            NotEnoughSpace: The disk has become too full since the check; nothing was sent.
            InvalidRequest: The server now has another model, which cannot do this; or an input image of an
                edit has changed.
            BadPicture: The server sent something that is not an image.
            PictureNotSaved: The image was generated but could not be written; the error holds it.
            OmniError: The server refused, failed, or did not answer.
        """
        if job.hold is not None and job.request.task == "edit":
            await asyncio.to_thread(self._library.check_exists)
        job = await self._loaded.resolve(job)
        on_start(job.work)
        if not job.reuse:
            return await self._generate_new(job, record)
        started = self._timer()
        async with self._in_progress.setdefault(job.key, asyncio.Lock()):
            existing = await asyncio.to_thread(self._library.existing, job.key)
            if existing is None:
                return await self._generate_new(job, record)
            saved = await asyncio.to_thread(self._place, existing, job.request.filename)
        image = _reuse(existing, saved, job, seconds=self._timer() - started)
        record(image)
        return image

    def flush(self) -> None:
        """Write the entries of the index and the measurements that still wait; blocks on the disk."""
        with suppress(IndexUnavailable):  # the next query reads the files instead
            self._library.flush()
        self._speeds.flush()

    def _place(self, existing: Existing, filename: str | None) -> Saved:
        if filename is None:
            return Saved(path=existing.record.path)
        return self._library.place_existing(existing, filename=filename, now=self._now())

    async def _generate_new(self, job: ResolvedJob, record: Record) -> GeneratedImage:
        checked_at, pixels = self._room
        if job.resolved.pixels > pixels or self._timer() > checked_at + _ROOM_SECONDS:
            await asyncio.to_thread(self._check_room, job)
        started = self._timer()
        job, reply = await self._send_to_current_model(job)
        ended = self._timer()
        save = functools.partial(self._save, job, reply, seconds=ended - started, ended=ended)
        try:
            return await save_guarded(save, record, job.hold)
        except ImageError as error:
            _describe(error, job)
            raise

    def _check_there(self, picture: Picture) -> None:
        try:
            self._library.check_exists()
        except CannotSave as error:
            raise PictureNotSaved(error.message, picture=picture, next_step=error.next_step) from error

    def _check_room(self, job: ResolvedJob) -> None:
        self._room = _NO_ROOM
        if job.hold is not None:
            self._library.check_exists()
        self._library.check_space(pixels=job.resolved.pixels)
        self._room = self._timer(), job.resolved.pixels

    async def _send_to_current_model(self, job: ResolvedJob) -> tuple[ResolvedJob, ImageGenerationReply]:
        """Send a request, and again if the server has changed its model in the meantime."""
        try:
            return job, await self._send(job)
        except BadRequest:
            if (await self._loaded.fetch()).name == job.model.name:
                raise
            job = await self._loaded.resolve(job)
            return job, await self._send(job)

    async def _send(self, job: ResolvedJob) -> ImageGenerationReply:
        try:
            return await send(self._backend, job, cost=self._speeds.cost(job.work))
        except (OmniError, ImageError) as error:
            _describe(error, job)
            raise

    def _save(
        self,
        job: ResolvedJob,
        reply: ImageGenerationReply,
        *,
        seconds: float,
        ended: float,
        spill: bool = True,
    ) -> GeneratedImage:
        """Check the image, write its parameters into it, and save it; runs in a thread."""
        now, resolved, match = self._now(), job.resolved, job.model.match
        metadata = self._metadata.of(resolved)
        received = receive_image(
            job,
            reply,
            self._loaded,
            metadata,
            now=now,
            seconds=seconds,
            more={"batch": job.batch, "position": job.position},
        )
        omitted = tuple(warnings.omitted_metadata(received.picture, resolved, self._metadata))
        if not spill:
            self._check_there(received.picture)
        saved = self._library.save(
            received.picture,
            received.facts,
            prompt=resolved.prompt,
            now=now,
            filename=job.request.filename,
            spill=spill,
            self_describing=self._metadata.is_complete and not omitted,
        )
        with suppress(CannotSave):  # the next request checks again, and says so
            self._check_room(job)
        origin = self._loaded.origin(job.model, server=received.server, task=job.work.task)
        self._speeds.learn(
            CompletedImage.from_reply(
                reply,
                origin=origin,
                profile=job.model.profile,
                work=job.work,
                ended=ended,
                seconds=seconds,
                parallel=self._backend.parallel_at(origin.server),
            )
        )
        image = GeneratedImage(
            picture=received.picture,
            path=saved.path,
            request=resolved,
            model=match.name,
            receipt=received.receipt,
            seconds=seconds,
            server=received.server,
            notes=(
                *saved.notes,
                *omitted,
                *([match.warning] if match.warning else []),
                *warnings.in_reply(resolved, reply, received.original),
                *warnings.suspicions(
                    received.original, resolved.seed, self._duplicates, reply.data[0].inspection
                ),
                *warnings.repeats(job.budget),
                *map(str, resolved.notes),
            ),
            spilled=saved.spilled,
        )
        return with_layers(image, reply, self._library, facts=received.facts, metadata=metadata, now=now)


def _reuse(existing: Existing, saved: Saved, job: ResolvedJob, *, seconds: float) -> GeneratedImage:
    """Return the result of a job whose image already exists, with notes about it."""
    created = f"{existing.record.created:%Y-%m-%d %H:%M} UTC"
    note = f"This image was generated at {created} and taken from the folder. Use fresh to generate it again."
    resolved, match = job.resolved, job.model.match
    return GeneratedImage(
        picture=existing.picture,
        path=saved.path,
        request=resolved,
        model=match.name,
        receipt=confirmed_receipt(job, existing.picture),
        seconds=seconds,
        notes=(
            note,
            *saved.notes,
            *([match.warning] if match.warning else []),
            *warnings.differences(resolved, existing.picture),
            *map(str, resolved.notes),
        ),
        layers=existing_layers(existing.record.path, resolved),
        reused=True,
        spilled=saved.spilled,
    )


def _describe(error: OmniError | ImageError, job: ResolvedJob) -> None:
    """Add to an error how often the request was tried, and what was asked for."""
    if job.budget.attempts > 1:
        error.add_note(f"Tried {job.budget.attempts} times.")
    resolved = job.resolved
    steps = resolved.num_inference_steps
    noun = "step" if steps == 1 else "steps"
    error.add_note(f"Requested: {resolved.size}, {steps} {noun}, seed {resolved.seed}.")
