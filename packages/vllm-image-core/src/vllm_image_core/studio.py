"""The front door: one object that walks a request from words to a picture on disk."""

import asyncio
import functools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import SecretStr
from vllm_omni_client.errors import OmniError
from vllm_omni_client.models import OutputFormat

from vllm_image_core.batches.batches import Batches
from vllm_image_core.batches.concurrency import ConcurrencyChooser
from vllm_image_core.batches.context import OUTAGE_SECONDS, BatchContext
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.ingest import Source
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.summary import BatchSummary, FoundBatch
from vllm_image_core.estimation.calibration import Calibration
from vllm_image_core.estimation.estimator import Estimate
from vllm_image_core.estimation.gpu import Gpu, GpuReport
from vllm_image_core.estimation.measurements import Measurements
from vllm_image_core.estimation.service_times import ServiceTimes
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.fleet.health import Health, examine
from vllm_image_core.fleet.server import ServerReport
from vllm_image_core.generation.forecast import Forecast
from vllm_image_core.generation.generator import Generator
from vllm_image_core.models.registry import Registry
from vllm_image_core.models.served import ServedModel
from vllm_image_core.models.settings import Quality
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recall import RecalledRequest, recall
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.input_picture import InputImage
from vllm_image_core.storage.edit_inputs import find_inputs
from vllm_image_core.storage.index import Page
from vllm_image_core.storage.library import Library
from vllm_image_core.storage.query import Query
from vllm_image_core.studio_views import StudioViews

__all__ = ["Studio"]

_RETRIES = 2
"""How often a studio's only server is asked again, where that is safe."""


def _draw_seed() -> int:
    return secrets.randbits(32)


def _local_time() -> datetime:
    return datetime.now(UTC).astimezone()


class Studio(StudioViews):
    """Makes pictures on one vLLM-Omni server, or on several as one, and saves them in one folder.

    Args:
        server: The server's base URL, or anything with the methods of ``Backend``; or several of them, whose
            work is shared out so that it is done soonest.
        output_dir: Where pictures are saved; made when the first one is.
        spill_dir: Where a picture goes that was made and cannot be written there; None for a new folder of
            this user alone under the system's folder for temporary files, made when it is needed.
        check_space: Whether the disk's free space is looked at before anything is sent.
        api_key: For a server that was started with one; only with a URL.
        timeout: Seconds that one picture may take, queue and retries included; only with a URL.
        max_concurrent: Pictures of a batch under way at once; None: as the GPU's memory allows, 1 to 4.
        gpu: What is known of the server's card.
        registry: The models' profiles; None for those that come with this package.
        metadata: What is written into the pictures' files; None for everything. See ``Metadata``.
        now: The local time, for file names.
        draw_seed: A seed for a request without one, 0 to 4294967295.
        timer: Seconds on a clock that never goes back.
        outage_timeout: Seconds for which a batch waits for an unavailable server or folder before it stops.

    Used as ``async with Studio(url) as studio``, or closed with ``aclose()``.
    """

    def __init__(
        self,
        server: str | Backend | Sequence[str | Backend],
        *,
        output_dir: Path | str = "generated_images",
        spill_dir: Path | str | None = None,
        check_space: bool = True,
        api_key: str | SecretStr | None = None,
        timeout: float = 300.0,
        max_concurrent: int | None = None,
        gpu: Gpu | None = None,
        registry: Registry | None = None,
        metadata: Metadata | None = None,
        now: Callable[[], datetime] = _local_time,
        draw_seed: Callable[[], int] = _draw_seed,
        timer: Callable[[], float] = time.perf_counter,
        outage_timeout: float = OUTAGE_SECONDS,
    ) -> None:
        # No frame and no attribute shows the key from here on: error reporters write their reprs.
        api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        servers = server if isinstance(server, Sequence) and not isinstance(server, str) else [server]
        self._connect = functools.partial(_connect, api_key=api_key, timeout=timeout)
        # Of several servers another one is asked when one fails, and not the same again.
        retries = _RETRIES if len(servers) == 1 else 0
        self._library = Library(
            Path(output_dir),
            spill_dir=None if spill_dir is None else Path(spill_dir),
            check_space=check_space,
        )
        self._timer = timer
        known = registry or Registry.builtin()
        speeds = ServiceTimes(Calibration(Measurements(self._library.root)))
        self._backend = Fleet(
            [self._connect(each, max_retries=retries) for each in servers], learned=speeds.seconds_per_cost
        )
        self._generator = Generator(
            self._backend,
            self._library,
            known,
            speeds,
            now=now,
            draw_seed=draw_seed,
            timer=timer,
            metadata=metadata,
        )
        self._forecast = Forecast(
            self._generator, self._backend, speeds, known, gpu=gpu or Gpu(), max_concurrent=max_concurrent
        )
        self._batches = Batches(
            BatchContext(
                backend=self._backend,
                generator=self._generator,
                library=self._library,
                journal=Journal(self._library.root),
                registry=known,
                timer=timer,
                speeds=lambda: self._forecast.speeds,
                outage_seconds=outage_timeout,
            ),
            at_once=ConcurrencyChooser(self._forecast.at_once, is_set=max_concurrent is not None),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the work on batches, which can be resumed, and close the connections to the servers."""
        await self._batches.aclose()
        await self._backend.aclose()

    @property
    def server_url(self) -> str:
        """The server's base URL, without credentials; of several servers all of them, with commas between."""
        return self._backend.base_url

    @property
    def servers(self) -> tuple[ServerReport, ...]:
        """What is known of each server: its model, its work, and whether it is in or out."""
        return self._backend.members

    def add_server(self, server: str | Backend) -> None:
        """Take in another server, also while pictures are made.

        Raises:
            InvalidRequest: It is one of the studio's servers already.
        """
        self._backend.join(self._connect(server, max_retries=0))

    async def remove_server(self, url: str) -> None:
        """Give a server no more work, wait until it has done what it has, and close its connections.

        Raises:
            InvalidRequest: It is none of the studio's servers, or the last one.
        """
        await self._backend.leave(url)

    @property
    def output_dir(self) -> Path:
        """The folder of the pictures, absolute."""
        return self._library.root

    async def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        aspect_ratio: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        filename: str | None = None,
        quality: Quality | None = None,
        tag: str | None = None,
        output_format: OutputFormat | None = None,
        fresh: bool = False,
    ) -> GeneratedImage:
        """Make one picture and save it; with a seed, the picture that is there already is taken.

        Args:
            prompt: What the picture shows.
            negative_prompt: What to avoid; dropped with a note where the model takes none.
            width: Pixels, a multiple of the model's ``resolution_multiple``; None for the model's.
            height: Pixels, likewise.
            aspect_ratio: Such as "16:9", from the model's table; wins over width and height.
            num_inference_steps: 1 to 200; None for the model's.
            guidance_scale: 0 to 20; None for the model's. Goes into the field that the model reads.
            seed: -2**63 to 2**63 - 1; None draws one.
            filename: A plain name, without folders; None for one from the time and the prompt's hash.
            quality: "draft", "standard" or "best": settings for what is left out here.
            tag: A word of yours to find it by, 1 to 100 characters; not sent.
            output_format: "png", "jpeg" or "webp"; None for PNG, which alone keeps every pixel.
            fresh: Make it anew, also when the same request with the same seed has been made.

        Raises:
            InvalidRequest: A parameter does not fit the model; nothing was sent.
            CannotSave: The folder cannot be written or is too full; found before anything is sent.
            PictureNotSaved: The picture was made, and neither folder took it; it is in the error.
            BadPicture: The server sent something that is no picture.
            OmniError: The server refused, failed, or did not answer.
        """
        return await self.make(
            ImageRequest(
                prompt=prompt,
                negative_prompt=negative_prompt,
                width=width,
                height=height,
                aspect_ratio=aspect_ratio,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                seed=seed,
                filename=filename,
                quality=quality,
                tag=tag,
                output_format=output_format,
            ),
            fresh=fresh,
        )

    async def edit(
        self,
        prompt: str,
        images: InputImage | list[InputImage] | tuple[InputImage, ...],
        *,
        mask: InputImage | None = None,
        reference_image: InputImage | None = None,
        strength: float | None = None,
        layers: int | None = None,
        resolution: int | None = None,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        aspect_ratio: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        filename: str | None = None,
        quality: Quality | None = None,
        tag: str | None = None,
        fresh: bool = False,
    ) -> GeneratedImage:
        """Change a picture, or combine up to 4, and save the result; as ``generate`` in everything else.

        The server goes on with an edit that was cancelled.

        Args:
            prompt: What to change.
            images: 1 to 4 pictures, or one alone: paths, bytes, pictures of ours or Pillow images. The first
                is the one that is changed, and gives the size where none is asked for.
            mask: White where the picture may change; refused where the model reads none.
            reference_image: A picture to take over from; refused where the model reads none.
            strength: 0 to 1: how far the result may go; dropped with a note where the model reads none.
            layers: 2 to 10; only for models that take a picture apart. See ``GeneratedImage.layers``.
            resolution: 640 or 1024, in place of a size; only for these models, too.
            negative_prompt: As in ``generate``.
            width: As in ``generate``; one side alone is completed in the picture's shape.
            height: Likewise.
            aspect_ratio: As in ``generate``.
            num_inference_steps: As in ``generate``.
            guidance_scale: As in ``generate``.
            seed: As in ``generate``.
            filename: As in ``generate``.
            quality: As in ``generate``.
            tag: As in ``generate``.
            fresh: As in ``generate``.

        Raises:
            InvalidRequest: The model cannot do this edit, and others are named that could; a picture cannot
                be used; or as ``generate``. Nothing was sent.
            CannotSave: As ``generate``.
            PictureNotSaved: As ``generate``.
            BadPicture: As ``generate``.
            OmniError: As ``generate``.
        """
        return await self.make(
            EditRequest(
                prompt=prompt,
                images=images,
                mask=mask,
                reference_image=reference_image,
                strength=strength,
                layers=layers,
                resolution=resolution,
                negative_prompt=negative_prompt,
                width=width,
                height=height,
                aspect_ratio=aspect_ratio,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                seed=seed,
                filename=filename,
                quality=quality,
                tag=tag,
            ),
            fresh=fresh,
        )

    async def check(self, request: ImageRequest) -> None:
        """Find out whether the loaded model can do a request, without sending it.

        Raises:
            InvalidRequest: It cannot.
            OmniError: The server does not tell its model.
        """
        await self._generator.check(request)

    async def make(self, request: ImageRequest, *, fresh: bool = False) -> GeneratedImage:
        """Make the picture of a request and save it; raises as ``generate`` does."""
        job = await self._generator.check(request, fresh=fresh)
        await self._generator.check_writable([job.request])
        return await self._generator.generate(job)

    async def recall(self, file: Path | str | bytes) -> RecalledRequest:
        """Read how a picture was made from its own file; ``make(recalled.request)`` makes it again.

        Args:
            file: A PNG, JPEG or WebP of ours, AUTOMATIC1111, ComfyUI or InvokeAI: its path, or its content.

        Raises:
            NotRecalled: The file cannot be read, is no picture, or does not tell how it was made.
        """
        return await asyncio.to_thread(_recall, file, self.output_dir)

    def batch(
        self,
        requests: Source,
        *,
        max_concurrent: int | None = None,
        fresh: bool = False,
        recorded_first: bool = False,
    ) -> ImageBatch:
        """A batch of requests; nothing happens until it is awaited, entered or read, see ``PictureBatch``.

        Args:
            requests: A list: all are checked and recorded before the first is sent. Or an iterator, also an
                async one, of any length: recorded ahead of what is sent.
            recorded_first: Whether an iterator is recorded to its end before the first request is sent.
            max_concurrent: At least 1; None for the studio's own, or as the GPU's memory allows.
            fresh: Make all of them anew; otherwise requests with a seed take the picture that is there.
        """
        return self._batches.new(
            requests, max_concurrent=max_concurrent, fresh=fresh, recorded_first=recorded_first
        )

    def resume(self, batch_id: str, *, max_concurrent: int | None = None) -> ImageBatch:
        """A batch of this folder, of whichever process, which goes on when it is awaited, entered or read.

        Only what is missing is made: what is done and whole on the disk stays.

        Args:
            batch_id: The id that the batch had.
            max_concurrent: At least 1; None for as many as the batch was given, also by another process.
                Where it was given no number: the studio's own, or as the GPU's memory allows.
        """
        return self._batches.resume(batch_id, max_concurrent=max_concurrent)

    async def batches(self, limit: int = 20) -> tuple[BatchSummary, ...]:
        """The newest batches of this folder, of whichever process, newest first.

        Raises:
            InvalidRequest: The limit is not from 1 to 1,000,000.
            JournalUnavailable: The journal of batches cannot be read.
        """
        return await self._batches.newest(limit)

    async def find_batch(self, batch_id: str, *, limit: int = 1000, offset: int = 0) -> FoundBatch:
        """A batch of this folder, of whichever process, with some of its requests.

        Args:
            batch_id: The id that the batch has.
            limit: At most so many requests, 1 to 1,000,000.
            offset: The position of the first: the last page's ``next_offset``.

        Raises:
            UnknownBatch: No batch of this folder has that id.
            JournalUnavailable: The journal of batches cannot be read.
        """
        return await self._batches.read(batch_id, limit=limit, offset=offset)

    async def cancel_batch(self, batch_id: str) -> FoundBatch:
        """Cancel a batch, and tell how it stands then; one that has ended stays as it is.

        Where another process works on it, that one is asked, and has some seconds to do it.

        Raises:
            UnknownBatch: No batch of this folder has that id.
            JournalUnavailable: The journal of batches cannot be read or written.
        """
        await self._batches.cancel(batch_id)
        return await self._batches.read(batch_id, limit=1000, offset=0)

    async def find(
        self,
        text: str | None = None,
        *,
        model: str | None = None,
        seed: int | None = None,
        width: int | None = None,
        height: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        batch: str | None = None,
        tag: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> Page:
        """Find pictures in the output folder, newest first; with no arguments, the last 50.

        Args:
            text: Words of the prompt, the tag or the file name, all of them, in any order and any form of
                an English word; "sno*" finds "snow". Any text will do.
            model: The model's name, exactly.
            seed: -2**63 to 2**63 - 1.
            width: Pixels.
            height: Pixels.
            since: Made then or later; a time without a zone is the local one.
            until: Made before then.
            batch: The id of a batch.
            tag: The tag, exactly.
            limit: At most so many, 1 to 1,000.
            offset: How many of the newest to leave out: the last page's ``next_offset``.

        Raises:
            InvalidRequest: A value that cannot be searched for.
            IndexUnavailable: The folder's index cannot be read or written.
        """
        query = Query(
            text=text,
            model=model,
            seed=seed,
            width=width,
            height=height,
            since=since,
            until=until,
            batch=batch,
            tag=tag,
            limit=limit,
            offset=offset,
        )
        return await asyncio.to_thread(self._library.find, query)

    async def model(self) -> ServedModel:
        """Ask the server for its model, and find the profile that fits it."""
        return await self._generator.model()

    async def health(self) -> Health:
        """Whether the server can make pictures; an unreachable server is an answer, not an error."""
        return await examine(self._backend, timer=self._timer)

    async def requests_of_others(self) -> int | None:
        """How many requests that are not this studio's the servers have, None where they do not tell."""
        try:
            return await self._backend.requests_of_others()
        except OmniError:
            return None

    async def gpu(self) -> GpuReport:
        """What is known of the server's memory, and from where; what nobody knows is None."""
        return await self._forecast.card()

    async def estimate(
        self,
        *,
        num_images: int = 1,
        width: int | None = None,
        height: int | None = None,
        num_inference_steps: int | None = None,
    ) -> Estimate:
        """Predict the time and memory of some pictures, without making them.

        From the pictures that this server has made before, also for other studios on this folder; from the
        model's profile where there are none. The server's queue is asked for. Several servers share the
        pictures, each by its speed.

        Args:
            num_images: 1 to 1,000,000.
            width: Pixels; None for the model's.
            height: Pixels; None for the model's.
            num_inference_steps: 1 to 200; None for the model's.

        Raises:
            InvalidRequest: A parameter does not fit the model.
            OmniError: The server does not tell its model.
        """
        asked = ImageRequest(
            prompt="any", width=width, height=height, num_inference_steps=num_inference_steps, seed=0
        )
        return await self._forecast.pictures(asked, num_images)

    async def estimate_edit(self, request: EditRequest) -> Estimate:
        """Predict the time and memory of an edit, without making it; its notes say what is not counted.

        Raises:
            InvalidRequest: The model cannot do it, or a picture cannot be used.
            OmniError: The server does not tell its model.
        """
        return await self._forecast.edit(request)


def _recall(file: Path | str | bytes, folder: Path) -> RecalledRequest:
    told = recall(file)
    return replace(told, request=find_inputs(folder, told.request, told.inputs))


def _connect(
    server: str | Backend, *, api_key: SecretStr | None, timeout: float, max_retries: int
) -> Backend:
    if not isinstance(server, str):
        return server
    from vllm_omni_client._async_client import AsyncOmniClient  # noqa: PLC0415 - httpx is slow to import

    return AsyncOmniClient(server, api_key=api_key, timeout=timeout, max_retries=max_retries)
