"""Generate images: resolve a request, send it, check and describe the result, and save it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import BadRequest, OmniError, UnsupportedParameter
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest

from vllm_image_core.errors import CannotSave, ImageError, PictureNotSaved
from vllm_image_core.estimation.calibration import CompletedImage
from vllm_image_core.estimation.service_times import ServiceTimes
from vllm_image_core.estimation.work import Work, work_of
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.generation import warnings
from vllm_image_core.generation.job import Job, Record, save_guarded
from vllm_image_core.generation.layers import existing_layers, with_layers
from vllm_image_core.generation.loaded_model import LoadedModel
from vllm_image_core.generation.operations import facts_of, metadata_of, read_inputs, receipt_of
from vllm_image_core.imaging.duplicates import DuplicateDetector
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.models.registry import Registry
from vllm_image_core.models.served import ServedModel
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recipe import collect_facts, write_recipe
from vllm_image_core.requests.content_hash import ContentKey, content_key
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import ResolvedEdit
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.limits import check_tag
from vllm_image_core.requests.receipt import Receipt
from vllm_image_core.requests.resolver import ResolvedRequest
from vllm_image_core.storage.filename import check_filename
from vllm_image_core.storage.library import Existing, Library, Saved

__all__ = [
    "Generator",
    "receipt",
    "reuse",
    "send",
]


def receipt(job: Job, resolved: ResolvedRequest, received: Picture) -> Receipt:
    """Return the receipt of a job, confirmed by the image that was received."""
    expected = receipt_of(job.request, resolved)
    return expected.confirm(size=received.size, output_format=received.format)


def reuse(
    existing: Existing,
    saved: Saved,
    job: Job,
    resolved: ResolvedRequest,
    model: ServedModel,
    *,
    seconds: float,
) -> GeneratedImage:
    """Return the result of a job whose image already exists, with notes about it."""
    created = f"{existing.record.created:%Y-%m-%d %H:%M} UTC"
    note = f"This image was generated at {created} and taken from the folder. Use fresh to generate it again."
    return GeneratedImage(
        picture=existing.picture,
        path=saved.path,
        request=resolved,
        model=model.match.name,
        receipt=receipt(job, resolved, existing.picture),
        seconds=seconds,
        notes=(
            note,
            *saved.notes,
            *([model.match.warning] if model.match.warning else []),
            *warnings.differences(resolved, existing.picture),
            *map(str, resolved.notes),
        ),
        layers=existing_layers(existing.record.path, resolved),
        reused=True,
        spilled=saved.spilled,
    )


R = TypeVar("R", ImageGenerationRequest, ImageEditRequest)

_ASKED_AS: Final[Mapping[str, str]] = {"extra_params": "guidance_scale", "true_cfg_scale": "guidance_scale"}
"""The request parameter that fills each wire field; other fields have the parameter's own name."""


async def send(
    fleet: Fleet,
    resolved: ResolvedRequest,
    *,
    asked: ImageRequest,
    model: str,
    cost: float | None = None,
    low_priority: bool = False,
    budget: GenerationBudget | None = None,
) -> ImageGenerationReply:
    """Send a request, and return the server's reply.

    If no server knows a field, it is left out, provided the profile and not the caller filled it in; the
    reply's receipt names it.

    Args:
        fleet: The servers.
        resolved: A generation, or an edit with its input images.
        asked: What the caller asked for.
        model: The served name.
        cost: Cost relative to other requests; None if it is not known.
        low_priority: Whether it gives way to requests that somebody is waiting for.
        budget: What the image may still cost; None to begin a new budget with this call.

    Raises:
        OmniError: The server refused, failed, or did not answer.
    """
    if not isinstance(resolved, ResolvedEdit):
        wire = resolved.to_wire().model_copy(update={"model": model})

        def generate(request: ImageGenerationRequest) -> Awaitable[ImageGenerationReply]:
            return fleet.generate_image(request, cost=cost, low_priority=low_priority, budget=budget)

        return await _send_supported_fields(wire, generate, asked)
    inputs = resolved.inputs

    def edit(request: ImageEditRequest) -> Awaitable[ImageGenerationReply]:
        return fleet.edit_image(
            request,
            tuple(one.picture.bytes for one in inputs.images),
            mask_image=inputs.mask.picture.bytes if inputs.mask else None,
            reference_image=inputs.reference_image.picture.bytes if inputs.reference_image else None,
            cost=cost,
            low_priority=low_priority,
            budget=budget,
        )

    return await _send_supported_fields(resolved.to_edit().model_copy(update={"model": model}), edit, asked)


async def _send_supported_fields(
    wire: R, send: Callable[[R], Awaitable[ImageGenerationReply]], asked: ImageRequest
) -> ImageGenerationReply:
    """Send a request, and again without each field that the servers refuse and that nobody asked for."""
    dropped: tuple[str, ...] = ()
    while True:
        try:
            reply = await send(wire)
        except UnsupportedParameter as refusal:
            field = refusal.parameter
            if field is None or getattr(wire, field, None) is None or _was_requested(asked, field):
                raise
            dropped = (*dropped, field)
            wire = wire.model_copy(update={field: None})
        else:
            return _add_ignored_to_receipt(reply, dropped)


def _was_requested(asked: ImageRequest, field: str) -> bool:
    return getattr(asked, _ASKED_AS.get(field, field), None) is not None


def _add_ignored_to_receipt(reply: ImageGenerationReply, dropped: tuple[str, ...]) -> ImageGenerationReply:
    if not dropped or reply.receipt is None:
        return reply
    return reply.with_receipt(
        replace(reply.receipt, ignored_fields=(*reply.receipt.ignored_fields, *dropped))
    )


_MOST_PIXELS_OVER = 1.1
"""An image with more than this many times the requested pixels is refused without decoding it."""

_ALWAYS_TAKEN_PIXELS = 4_194_304
"""An image of up to 2048x2048 is always kept, whatever was requested; a note gives its size."""


def _record_nothing(_: GeneratedImage) -> None:
    """Record nothing."""


class Generator:
    """Generates images on the servers and saves them in one folder.

    Args:
        backend: The servers.
        library: The folder.
        registry: Model profiles.
        now: Returns the local time, for file names.
        draw_seed: Returns a seed for a request without one.
        timer: Returns seconds on a clock that never goes back.
        metadata: What to write into image files; None for everything.
        speeds: Learns from each image that was generated and saved.
    """

    def __init__(
        self,
        backend: Fleet,
        library: Library,
        registry: Registry,
        speeds: ServiceTimes,
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
        self._duplicates = DuplicateDetector()
        self._loaded = LoadedModel(backend, registry, speeds, draw_seed=draw_seed)
        self._under_way: WeakValueDictionary[ContentKey, asyncio.Lock] = WeakValueDictionary()

    async def model(self) -> ServedModel:
        """Ask the server for its model, and find the profile that matches it."""
        return await self._loaded.fetch()

    async def cached_model(self) -> ServedModel:
        """Return the model that the server reported last; ask for it if it has not reported one."""
        return await self._loaded.cached()

    async def ready(self) -> ServedModel:
        """Return the cached model, after loading the servers' stored speeds with it once.

        Raises:
            OmniError: The server does not say which model it serves.
        """
        return await self._loaded.ready()

    def work(self, request: ImageRequest) -> Work | None:
        """Return the GPU work of a checked request; None if no model is known or the model cannot do it."""
        return self._loaded.work(request)

    async def check(self, request: ImageRequest, *, fresh: bool = False) -> Job:
        """Check a request against the loaded model, draw its seed, and return it as a job.

        Args:
            request: The caller's request.
            fresh: Whether to generate the image even if it already exists.

        Raises:
            InvalidRequest: It does not fit the model.
            OmniError: The server does not say which model it serves.
        """
        check_filename(request.filename)
        check_tag(request.tag)
        model = await self.ready()
        request = await read_inputs(request, model.profile, self._registry)
        resolved = self._resolve(request, model)
        drawn = request.seed is None or request.seed_drawn
        checked = replace(request, seed=resolved.seed, seed_drawn=drawn)
        return Job(request=checked, reuse=not (fresh or drawn))

    async def check_writable(self, requests: Iterable[ImageRequest]) -> None:
        """Write a test file and check the free space, before any GPU time is spent.

        Raises:
            CannotSave: The folder cannot be written, or has too little space.
        """
        model = await self.cached_model()
        await asyncio.to_thread(self._check_writable, requests, model)

    def _check_writable(self, requests: Iterable[ImageRequest], model: ServedModel) -> None:
        """Check the folder, in a thread, because the size of an edit's result depends on its input images."""
        pixels = sum(self._resolve(request, model).size.pixels for request in requests)
        self._library.check_writable(pixels=pixels)

    async def generate(self, job: Job, record: Record = _record_nothing) -> GeneratedImage:
        """Send a checked request and save the result, or return the image if it already exists.

        If equal requests are in progress at the same time, only one is sent.

        Raises:
            NotEnoughSpace: The disk has become too full since the check; nothing was sent.
            InvalidRequest: The server now has another model, which cannot do this; or an input image of an
                edit has changed.
            BadPicture: The server sent something that is not an image.
            PictureNotSaved: The image was generated but could not be written; the error holds it.
            OmniError: The server refused, failed, or did not answer.
        """
        await self.ready()  # a batch may have started while its server was away
        job = await self._with_pictures(job)
        if not job.reuse:
            return await self._generate_new(job, record)
        started = self._timer()
        model = await self.cached_model()
        resolved = self._resolve(job.request, model)
        key = self._key(resolved, model)
        async with self._under_way.setdefault(key, asyncio.Lock()):
            existing = await asyncio.to_thread(self._library.existing, key)
            if existing is None:
                return await self._generate_new(job, record)
            saved = await asyncio.to_thread(self._place, existing, job.request.filename)
        image = reuse(existing, saved, job, resolved, model, seconds=self._timer() - started)
        record(image)
        return image

    async def _with_pictures(self, job: Job) -> Job:
        """Return the job with the input images of an edit read, so that later steps need not read them."""
        if not isinstance(job.request, EditRequest):
            return job
        if job.hold is not None:  # without the folder, its images are missing too
            await asyncio.to_thread(self._library.check_exists)
        model = await self.cached_model()
        return replace(job, request=await read_inputs(job.request, model.profile, self._registry))

    def _place(self, existing: Existing, filename: str | None) -> Saved:
        if filename is None:
            return Saved(path=existing.record.path)
        return self._library.place_existing(existing, filename=filename, now=self._now())

    async def _generate_new(self, job: Job, record: Record) -> GeneratedImage:
        model = await self.cached_model()
        pixels = self._resolve(job.request, model).size.pixels
        await asyncio.to_thread(self._check_room, job, pixels=pixels)
        started = self._timer()
        model, resolved, reply = await self._send_to_current_model(job)
        ended = self._timer()
        save = functools.partial(
            self._save, job, reply, model=model, resolved=resolved, seconds=ended - started, ended=ended
        )
        try:
            return await save_guarded(save, record, job.hold)
        except ImageError as error:
            _describe(error, job, resolved)
            raise

    def _check_there(self, picture: Picture) -> None:
        try:
            self._library.check_exists()
        except CannotSave as error:
            raise PictureNotSaved(error.message, picture=picture, next_step=error.next_step) from error

    def _check_room(self, job: Job, *, pixels: int) -> None:
        if job.hold is not None:
            self._library.check_exists()
        self._library.check_space(pixels=pixels)

    async def _send_to_current_model(
        self, job: Job
    ) -> tuple[ServedModel, ResolvedRequest, ImageGenerationReply]:
        """Send a request, and again if the server has changed its model in the meantime."""
        model = await self.cached_model()
        try:
            return await self._send(job, model)
        except BadRequest:
            changed = await self.model()
            if changed.name == model.name:
                raise
            return await self._send(job, changed)

    async def _send(
        self, job: Job, model: ServedModel
    ) -> tuple[ServedModel, ResolvedRequest, ImageGenerationReply]:
        resolved = self._resolve(job.request, model)
        try:
            cost = self._speeds.cost(work_of(resolved, model.profile))
            reply = await send(
                self._backend,
                resolved,
                asked=job.request,
                model=model.name,
                cost=cost,
                low_priority=job.batch is not None,
                budget=job.budget,
            )
        except (OmniError, ImageError) as error:
            _describe(error, job, resolved)
            raise
        return model, resolved, reply

    def _resolve(self, request: ImageRequest, model: ServedModel) -> ResolvedRequest:
        return self._loaded.resolve(request, model)

    def _key(self, resolved: ResolvedRequest, model: ServedModel) -> ContentKey:
        return content_key(resolved, model=model.name, server_version=self._loaded.version)

    def _save(
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
        """Check the image, write its parameters into it, and save it; runs in a thread."""
        now = self._now()
        received = Picture.check(reply.data[0].bytes, max_pixels=_most_pixels(resolved))
        confirmed = receipt(job, resolved, received)
        server = _server(reply)
        more = {
            "key": self._key(resolved, model),
            "server": server,
            "server_version": self._loaded.version_of(server),
            "seconds": round(seconds, 3),
            "batch": job.batch,
            "position": job.position,
            "tag": job.request.tag,
            "receipt": confirmed.compact(),
            **facts_of(resolved),
        }
        facts = collect_facts(resolved, model=model.match.name, now=now, more=more)
        metadata = metadata_of(self._metadata, resolved)
        picture = write_recipe(received, resolved, model=model.match.name, facts=facts, metadata=metadata)
        if not spill:
            self._check_there(picture)
        saved = self._library.save(
            picture, facts, prompt=resolved.prompt, now=now, filename=job.request.filename, spill=spill
        )
        work, origin = work_of(resolved, model.profile), self._loaded.origin(model, server=server)
        self._speeds.learn(
            CompletedImage.from_reply(
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
            receipt=confirmed,
            seconds=seconds,
            server=server,
            notes=(
                *saved.notes,
                *warnings.omitted_metadata(picture, resolved, self._metadata),
                *([model.match.warning] if model.match.warning else []),
                *warnings.in_reply(resolved, reply, received),
                *warnings.suspicions(received, resolved.seed, self._duplicates),
                *warnings.repeats(job.budget),
                *map(str, resolved.notes),
            ),
            spilled=saved.spilled,
        )
        return with_layers(image, reply, self._library, facts=facts, metadata=metadata, now=now)


def _server(reply: ImageGenerationReply) -> str | None:
    return reply.receipt.server or None if reply.receipt else None


def _describe(error: OmniError | ImageError, job: Job, resolved: ResolvedRequest) -> None:
    """Add to an error how often the request was tried, and what was asked for."""
    if job.budget.attempts > 1:
        error.add_note(f"Tried {job.budget.attempts} times.")
    steps = resolved.num_inference_steps
    noun = "step" if steps == 1 else "steps"
    error.add_note(f"Asked for: {resolved.size}, {steps} {noun}, seed {resolved.seed}.")


def _most_pixels(resolved: ResolvedRequest) -> int:
    return max(_ALWAYS_TAKEN_PIXELS, int(_MOST_PIXELS_OVER * resolved.size.pixels))
