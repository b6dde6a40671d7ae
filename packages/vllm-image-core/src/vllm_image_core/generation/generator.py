"""A maker of pictures: a request is resolved, sent, checked, described and saved."""

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
from vllm_image_core.generation.layers import layers_beside, with_layers
from vllm_image_core.generation.loaded_model import LoadedModel
from vllm_image_core.generation.operations import facts_of, metadata_of, read_inputs, receipt_of
from vllm_image_core.imaging.duplicates import DuplicateDetector
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.models.registry import Registry
from vllm_image_core.models.served import ServedModel
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recipe import recipe_facts, with_recipe
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
    """The receipt of a job with the picture that it has got."""
    told = receipt_of(job.request, resolved)
    return told.confirm(size=received.size, output_format=received.format)


def reuse(
    existing: Existing,
    saved: Saved,
    job: Job,
    resolved: ResolvedRequest,
    model: ServedModel,
    *,
    seconds: float,
) -> GeneratedImage:
    """The outcome of a job whose picture is there already, and what is to be told of it."""
    made = f"{existing.record.created:%Y-%m-%d %H:%M} UTC"
    note = f"This picture was made at {made}, and is taken from the folder; fresh makes it anew."
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
        layers=layers_beside(existing.record.path, resolved),
        reused=True,
        spilled=saved.spilled,
    )


R = TypeVar("R", ImageGenerationRequest, ImageEditRequest)

_ASKED_AS: Final[Mapping[str, str]] = {"extra_params": "guidance_scale", "true_cfg_scale": "guidance_scale"}
"""Fields of the wire by the parameter of a request that fills them; others have the parameter's name."""


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

    A field that the profile filled in, and not the caller, is left out where no server knows it; the reply's
    receipt names it.

    Args:
        fleet: The servers.
        resolved: A generation, or an edit with its pictures.
        asked: What the caller asked for.
        model: The served name.
        cost: What it costs beside others; None where nobody knows.
        low_priority: Whether it gives way to what somebody waits for.
        budget: What the image may still cost; None for one that is begun with this call.

    Raises:
        OmniError: The server refused, failed, or did not answer.
    """
    if not isinstance(resolved, ResolvedEdit):
        wire = resolved.to_wire().model_copy(update={"model": model})

        def generate(request: ImageGenerationRequest) -> Awaitable[ImageGenerationReply]:
            return fleet.generate_image(request, cost=cost, low_priority=low_priority, budget=budget)

        return await _without_what_nobody_asked_for(wire, generate, asked)
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

    return await _without_what_nobody_asked_for(
        resolved.to_edit().model_copy(update={"model": model}), edit, asked
    )


async def _without_what_nobody_asked_for(
    wire: R, send: Callable[[R], Awaitable[ImageGenerationReply]], asked: ImageRequest
) -> ImageGenerationReply:
    """Send, and again without each field that the servers do not know: of a refused request none was sent."""
    dropped: tuple[str, ...] = ()
    while True:
        try:
            reply = await send(wire)
        except UnsupportedParameter as refusal:
            field = refusal.parameter
            if field is None or getattr(wire, field, None) is None or _is_asked(asked, field):
                raise
            dropped = (*dropped, field)
            wire = wire.model_copy(update={field: None})
        else:
            return _add_ignored_to_receipt(reply, dropped)


def _is_asked(asked: ImageRequest, field: str) -> bool:
    return getattr(asked, _ASKED_AS.get(field, field), None) is not None


def _add_ignored_to_receipt(reply: ImageGenerationReply, dropped: tuple[str, ...]) -> ImageGenerationReply:
    if not dropped or reply.receipt is None:
        return reply
    return reply.with_receipt(
        replace(reply.receipt, ignored_fields=(*reply.receipt.ignored_fields, *dropped))
    )


_MOST_PIXELS_OVER = 1.1
"""A picture may have this many times the pixels that were asked for before it is refused undecoded."""

_ALWAYS_TAKEN_PIXELS = 4_194_304
"""A picture of up to 2048x2048 is harmless, whatever was asked for: it is kept, and its size told."""


def _record_nothing(_: GeneratedImage) -> None:
    """Keep no record."""


class Generator:
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
        """Ask the server for its model, and find the profile that fits it."""
        return await self._loaded.fetch()

    async def cached_model(self) -> ServedModel:
        """The model as the server told it last; asked for when it has not told it yet."""
        return await self._loaded.cached()

    async def ready(self) -> ServedModel:
        """The same, with what is kept of the servers' speed with it, which is read once.

        Raises:
            OmniError: The server does not tell its model.
        """
        return await self._loaded.ready()

    def work(self, request: ImageRequest) -> Work | None:
        """What a checked request asks of a GPU; None while no model is known, or one that cannot do it."""
        return self._loaded.work(request)

    async def check(self, request: ImageRequest, *, fresh: bool = False) -> Job:
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
        model = await self.ready()
        request = await read_inputs(request, model.profile, self._registry)
        resolved = self._resolve(request, model)
        drawn = request.seed is None or request.seed_drawn
        checked = replace(request, seed=resolved.seed, seed_drawn=drawn)
        return Job(request=checked, reuse=not (fresh or drawn))

    async def check_writable(self, requests: Iterable[ImageRequest]) -> None:
        """Write a test file and look at the free space, before a GPU works for nothing.

        Raises:
            CannotSave: The folder cannot be written, or has too little space.
        """
        model = await self.cached_model()
        await asyncio.to_thread(self._check_writable, requests, model)

    def _check_writable(self, requests: Iterable[ImageRequest], model: ServedModel) -> None:
        """Look at the folder, in a thread: the pictures of edits tell the sizes of what is made of them."""
        pixels = sum(self._resolve(request, model).size.pixels for request in requests)
        self._library.check_writable(pixels=pixels)

    async def generate(self, job: Job, record: Record = _record_nothing) -> GeneratedImage:
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
        await self.ready()  # a batch may go on that has begun while its server was away
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
        """The job with the pictures of an edit read, once for all that follows."""
        if not isinstance(job.request, EditRequest):
            return job
        if job.hold is not None:  # a folder that is away has its pictures with it
            await asyncio.to_thread(self._library.check_there)
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
        kept = functools.partial(
            self._save, job, reply, model=model, resolved=resolved, seconds=ended - started, ended=ended
        )
        try:
            return await save_guarded(kept, record, job.hold)
        except ImageError as error:
            error.add_note(_description(resolved))
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

    async def _send_to_current_model(
        self, job: Job
    ) -> tuple[ServedModel, ResolvedRequest, ImageGenerationReply]:
        """Send a request, and once more if the server has changed its model meanwhile."""
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
        except OmniError as error:
            if job.budget.attempts > 1:
                error.add_note(f"Tried {job.budget.attempts} times.")
            error.add_note(_description(resolved))
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
            receipt=told,
            seconds=seconds,
            server=server,
            notes=(
                *saved.notes,
                *warnings.omitted_metadata(picture, resolved, self._metadata),
                *([model.match.warning] if model.match.warning else []),
                *warnings.in_reply(resolved, reply, received),
                *warnings.suspicions(received, resolved.seed, self._duplicates),
                *map(str, resolved.notes),
            ),
            spilled=saved.spilled,
        )
        return with_layers(image, reply, self._library, facts=facts, metadata=metadata, now=now)


def _server(reply: ImageGenerationReply) -> str | None:
    return reply.receipt.server or None if reply.receipt else None


def _description(resolved: ResolvedRequest) -> str:
    return f"Asked for: {resolved.size}, {resolved.num_inference_steps} steps, seed {resolved.seed}."


def _most_pixels(resolved: ResolvedRequest) -> int:
    return max(_ALWAYS_TAKEN_PIXELS, int(_MOST_PIXELS_OVER * resolved.size.pixels))
