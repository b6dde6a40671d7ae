"""Row generator: turn a row of parameters into an image in the store and a row about it."""

import asyncio
import functools
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self
from weakref import WeakValueDictionary

from vllm_omni_client.errors import OmniError

from vllm_image_core.batches.context import OUTAGE_SECONDS, PROBE_SECONDS
from vllm_image_core.datasets.image_row import ImageRow
from vllm_image_core.datasets.job_id import JobId, image_name, job_id
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.outages import Outages
from vllm_image_core.datasets.row_parts import FinishedIds
from vllm_image_core.datasets.row_request import image_request
from vllm_image_core.errors import BadPicture, CannotSave, ImageError, PictureNotSaved, RunStopped
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.generation.job import Job, ResolvedJob
from vllm_image_core.generation.loaded_model import LoadedModel
from vllm_image_core.generation.operations import send
from vllm_image_core.generation.received_image import receive_image
from vllm_image_core.imaging.picture import Picture, read_text
from vllm_image_core.models.registry import Registry
from vllm_image_core.models.served import choose_model
from vllm_image_core.provenance.facts import json_object
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recipe import find_recipe
from vllm_image_core.requests.limits import draw_seed
from vllm_image_core.storage.os_errors import reason_of
from vllm_image_core.storage.spill_folder import CANNOT_SPILL, SpillFolder
from vllm_image_core.text import message_of

_PROBE: Final = "probe"

_LOW_PRIORITY: Final = "dataset"
"""The batch of all jobs: a job of a batch gives way to requests that somebody is waiting for."""


@dataclass(frozen=True, slots=True)
class _Image:
    """An image in the store."""

    picture: Picture
    uri: str
    server: str | None
    seconds: float | None


def _now() -> datetime:
    return datetime.now(UTC)


class RowGenerator:
    """Generates the images of rows on some servers, and writes them into a store.

    All requests of a process should share one: it has the connections, and knows which servers are healthy.

    Args:
        servers: The servers, at least one.
        store: Where images go.
        defaults: Values for the columns that a row does not set.
        finished: Images that have a row already; their rows give None.
        model: The model to use, if the servers list several; None for the first one that has a profile.
        registry: Model profiles; None for those that come with this package.
        metadata: What to write into image files; None for everything.
        max_in_flight: Requests in progress at once.
        outage_seconds: How long to wait for unavailable servers or an unavailable store.
        probe_seconds: Minimum time between two probes of an unavailable server or store.
        now: Returns the time that is written into image files.
        timer: Returns seconds on a clock that never goes back.
    """

    def __init__(
        self,
        servers: Sequence[Backend],
        store: ObjectStore,
        *,
        defaults: Mapping[str, object] | None = None,
        finished: FinishedIds | None = None,
        model: str | None = None,
        registry: Registry | None = None,
        metadata: Metadata | None = None,
        max_in_flight: int = 8,
        outage_seconds: float = OUTAGE_SECONDS,
        probe_seconds: float = PROBE_SECONDS,
        now: Callable[[], datetime] = _now,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        profiles = registry or Registry.builtin()
        choose = functools.partial(choose_model, registry=profiles, wanted=model)
        self._store = store
        self._spill = SpillFolder(store.folder)
        self._defaults = dict(defaults or {})
        self._finished = finished or FinishedIds()
        self._metadata = metadata or Metadata()
        self._now = now
        self._timer = timer
        self._fleet = Fleet(servers, choose=choose)
        self._loaded = LoadedModel(self._fleet, profiles, None, draw_seed=draw_seed, wanted=model)
        self._slots = asyncio.Semaphore(max_in_flight)
        self._outages = Outages(
            self._fleet.health_check,
            self._is_writable,
            outage_seconds=outage_seconds,
            probe_seconds=probe_seconds,
        )
        self._in_progress: WeakValueDictionary[JobId, asyncio.Lock] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop waiting for unavailable servers, and close the connections."""
        self._outages.close()
        await self._fleet.aclose()

    async def generate(self, row: Mapping[str, object]) -> ImageRow | None:
        """Generate the image of a row; it is in the store when this returns.

        An image that is in the store already is not generated again. A request that is invalid or fails gives
        a row that says why.

        Returns:
            What became of it; None if the image was known to have a row.

        Raises:
            RunStopped: The servers or the store were unavailable for too long. Nothing is lost.
        """
        job, key = None, None
        try:
            job = await self._resolve(row)
            key = job_id(job.resolved)
            if key in self._finished:
                return None
            async with self._in_progress.setdefault(key, asyncio.Lock()), self._slots:
                return await self._generate(job, key)
        except RunStopped:
            raise
        except (ImageError, OmniError) as error:
            return _failed_row(error, job, key)

    async def _resolve(self, row: Mapping[str, object]) -> ResolvedJob:
        request = image_request(row, self._defaults)
        job = Job(request=request, batch=_LOW_PRIORITY)
        return await self._outages.send(lambda: self._loaded.resolve(job), job.budget)

    async def _generate(self, job: ResolvedJob, key: JobId) -> ImageRow:
        existing = await self._existing(job, key)
        if existing is not None:
            return _row(existing, job, key, reused=True)
        started = self._timer()
        reply = await self._outages.send(lambda: send(self._fleet, job), job.budget)
        received = await asyncio.to_thread(
            receive_image,
            job,
            reply,
            self._loaded,
            self._metadata.of(job.resolved),
            now=self._now(),
            seconds=self._timer() - started,
            more={},
        )
        picture = received.picture
        name = image_name(key, picture.extension)
        try:
            is_new = await self._outages.save(lambda: self._store.create(name, picture.bytes))
            existing = None if is_new else await self._existing(job, key)  # another process was faster
            if not is_new and existing is None:  # the existing one is incomplete
                await self._outages.save(lambda: self._store.replace(name, picture.bytes))
        except CannotSave as error:
            raise await self._keep(name, picture, error) from error
        if existing is not None:
            return _row(existing, job, key, reused=True)
        image = _Image(picture, self._store.uri(name), received.server, round(self._timer() - started, 3))
        return _row(image, job, key, reused=False)

    async def _keep(self, name: str, picture: Picture, error: CannotSave) -> PictureNotSaved:
        """Write an image that the store refused to the spill folder, and say where it is."""
        try:
            path = await asyncio.to_thread(
                self._spill.save, picture, name.removesuffix(f".{picture.extension}")
            )
            kept = f"The image is in {path}."
        except CANNOT_SPILL as second:
            kept = f"It could not be written to the spill folder either: {reason_of(second)}."
        return PictureNotSaved(f"{error.message} {kept}", picture=picture, next_step=error.next_step)

    async def _existing(self, job: ResolvedJob, key: JobId) -> _Image | None:
        """Return the image of a request from the store; None if there is none that is complete."""
        wanted = job.resolved.output_format or "png"
        for extension in dict.fromkeys(("jpg" if wanted == "jpeg" else wanted, "png")):
            name = image_name(key, extension)
            data = await self._outages.save(functools.partial(self._store.read, name))
            if data is None:
                continue
            try:
                picture = Picture.check(data)
            except BadPicture:
                continue  # cut off when the machine lost power: its row was never written
            facts = json_object(find_recipe(read_text(data)) or "{}")
            server, seconds = facts.get("server"), facts.get("seconds")
            return _Image(
                picture,
                self._store.uri(name),
                server if isinstance(server, str) else None,
                seconds if isinstance(seconds, float) else None,
            )
        return None

    async def _is_writable(self) -> bool:
        try:
            await self._store.replace(_PROBE, b"")
        except ImageError:
            return False
        return True


def _row(image: _Image, job: ResolvedJob, key: JobId, *, reused: bool) -> ImageRow:
    return ImageRow(
        job_id=key,
        seed=job.resolved.seed,
        model=job.resolved.model,
        uri=image.uri,
        sha256=hashlib.sha256(image.picture.bytes).hexdigest(),
        width=image.picture.width,
        height=image.picture.height,
        server=image.server,
        seconds=image.seconds,
        status="reused" if reused else "done",
    )


def _failed_row(error: Exception, job: ResolvedJob | None, key: JobId | None) -> ImageRow:
    return ImageRow(
        job_id=key,
        seed=job.resolved.seed if job else None,
        model=job.resolved.model if job else None,
        status="failed",
        error=message_of(error),
    )
