"""The front door: one object that walks a request from words to a picture on disk."""

import asyncio
import functools
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from vllm_image_core.backend import Backend
from vllm_image_core.batching import batch_id
from vllm_image_core.bounds import integer
from vllm_image_core.errors import InvalidRequest, UnknownBatch
from vllm_image_core.estimator import Estimate, estimate, recommended_concurrency
from vllm_image_core.generated import GeneratedImage
from vllm_image_core.gpu import Gpu, GpuReport, report
from vllm_image_core.health import Health, examine
from vllm_image_core.filename import check_filename
from vllm_image_core.picture import Picture
from vllm_image_core.picture_batch import PictureBatch, Record
from vllm_image_core.recipe import with_recipe
from vllm_image_core.registry import Registry
from vllm_image_core.request import ImageRequest
from vllm_image_core.resolver import ResolvedRequest, resolve
from vllm_image_core.served import ServedModel, served_model
from vllm_image_core.store import Store
from vllm_image_core.text import one_line
from vllm_omni_client.errors import BadRequest, OmniError
from vllm_omni_client.models import ImageGenerationReply

__all__ = ["Studio"]

_logger = logging.getLogger(__name__)

_MOST_PIXELS_OVER = 2
"""A picture may have this many times the pixels that were asked for before it is refused undecoded."""

_MOST = 1_000_000
"""The largest number of pictures, or of pictures at once, that makes sense to ask for."""

_BATCHES_KEPT = 100
"""How many batches that have ended are still known by their id."""


def _drawn_seed() -> int:
    return secrets.randbelow(2**32)


def _unrecorded(image: GeneratedImage) -> None:
    """Keep no record of a picture outside of a batch."""


def _local_time() -> datetime:
    return datetime.now(UTC).astimezone()


class Studio:
    """Makes pictures on one vLLM-Omni server and saves them in one folder.

    Args:
        server: The server's base URL, or anything with the methods of ``Backend``.
        output_dir: Where pictures are saved; made when the first one is.
        api_key: For a server that was started with one; only with a URL.
        timeout: Seconds that one picture may take, queue and retries included; only with a URL.
        max_concurrent: Pictures of a batch under way at once; None: as many as the GPU's memory allows, 1 to 4.
        gpu: What is known of the server's card.
        registry: The models' profiles; None for those that come with this package.
        now: The local time, for file names.
        draw_seed: A seed for a request without one, 0 to 4294967295.
        timer: Seconds on a clock that never goes back.

    Used as ``async with Studio(url) as studio``, or closed with ``aclose()``.
    """

    def __init__(
        self,
        server: str | Backend,
        *,
        output_dir: Path | str = "generated_images",
        api_key: str | None = None,
        timeout: float = 300.0,
        max_concurrent: int | None = None,
        gpu: Gpu | None = None,
        registry: Registry | None = None,
        now: Callable[[], datetime] = _local_time,
        draw_seed: Callable[[], int] = _drawn_seed,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._backend = _connected(server, api_key=api_key, timeout=timeout) if isinstance(server, str) else server
        self._store = Store(Path(output_dir))
        self._max_concurrent = max_concurrent
        self._gpu = gpu or Gpu()
        self._registry = registry or Registry.builtin()
        self._now = now
        self._draw_seed = draw_seed
        self._timer = timer
        self._model: ServedModel | None = None
        self._batches: dict[str, PictureBatch] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to the server."""
        await self._backend.aclose()

    @property
    def server_url(self) -> str:
        """The server's base URL, without credentials."""
        return self._backend.base_url

    @property
    def output_dir(self) -> Path:
        """The folder of the pictures."""
        return self._store.root

    async def generate(
        self,
        prompt: str | ImageRequest,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        aspect_ratio: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        filename: str | None = None,
    ) -> GeneratedImage:
        """Make one picture and save it.

        Args:
            prompt: What the picture shows; or a whole request, and then no other argument.
            negative_prompt: What to avoid; dropped with a note where the model takes none.
            width: Pixels, a multiple of the model's ``resolution_multiple``; None for the model's.
            height: Pixels, likewise.
            aspect_ratio: Such as "16:9", from the model's table; wins over width and height.
            num_inference_steps: 1 to 200; None for the model's.
            guidance_scale: 0 to 20; None for the model's. Goes into the field that the model reads.
            seed: -2**63 to 2**63 - 1; None draws one.
            filename: A plain name, without folders; None for one from the time and the prompt's hash.

        Raises:
            InvalidRequest: A parameter does not fit the model; nothing was sent.
            CannotSave: The folder cannot be written; found before anything is sent where it can be.
            BadPicture: The server sent something that is no picture.
            OmniError: The server refused, failed, or did not answer.
        """
        request = (
            prompt
            if isinstance(prompt, ImageRequest)
            else ImageRequest(
                prompt=prompt,
                negative_prompt=negative_prompt,
                width=width,
                height=height,
                aspect_ratio=aspect_ratio,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                seed=seed,
                filename=filename,
            )
        )
        await asyncio.to_thread(self._store.check_writable)
        return await self._made(await self._pinned(request))

    async def batch(self, requests: Sequence[ImageRequest], *, max_concurrent: int | None = None) -> PictureBatch:
        """Check many requests, and return the batch that makes them once its block is entered.

        Args:
            requests: At least one; all are checked before the first is sent.
            max_concurrent: At least 1; None for the studio's own, or what the GPU's memory allows.

        Raises:
            InvalidRequest: A request does not fit the model (its position is in the error's notes), or there is none.
            CannotSave: The folder cannot be written.
            OmniError: The server does not tell its model.
        """
        at_once = await self._at_once(max_concurrent)
        if not requests:
            raise InvalidRequest("A batch needs at least one request.", parameter="requests", value=0, allowed="1 or more")
        pinned = [await self._pinned(request, position) for position, request in enumerate(requests)]
        await asyncio.to_thread(self._store.check_writable)
        batch = PictureBatch(
            self._made, pinned, at_once=at_once, id=batch_id(secrets.randbits(128)), timer=self._timer
        )
        self._remember(batch)
        return batch

    async def cancel_batch(self, batch_id: str) -> PictureBatch:
        """Cancel a batch of this studio, and return it as it stands then; one that has ended stays as it is.

        Raises:
            UnknownBatch: No batch of this studio has that id.
        """
        batch = self._batches.get(batch_id)
        if batch is None:
            raise UnknownBatch(f"Batch '{one_line(batch_id)}' is not known here.")
        await batch.cancel()
        return batch

    async def model(self) -> ServedModel:
        """Ask the server for its model, and find the profile that fits it."""
        model = served_model(await self._backend.get_models(), self._registry)
        if model != self._model and model.match.warning:
            _logger.warning("%s", model.match.warning)
        self._model = model
        return model

    async def health(self) -> Health:
        """Whether the server can make pictures; an unreachable server is an answer, not an error."""
        return await examine(self._backend, timer=self._timer)

    async def gpu(self) -> GpuReport:
        """What is known of the server's memory, and from where; what nobody knows is None.

        Raises:
            OmniError: The server does not tell its model.
        """
        model = await self.model()
        return report(self._gpu, model.profile, peak_memory_mb=await self._peak_memory_mb())

    async def recommended_concurrency(self) -> int:
        """How many pictures at once the GPU's memory allows, 1 to 4; 1 when its memory is unknown."""
        return recommended_concurrency(self._gpu.total_vram_gb, (await self._known_model()).profile)

    async def estimate(
        self,
        *,
        num_images: int = 1,
        width: int | None = None,
        height: int | None = None,
        num_inference_steps: int | None = None,
    ) -> Estimate:
        """Predict the time and memory of some pictures, without making them.

        Args:
            num_images: At least 1.
            width: Pixels; None for the model's.
            height: Pixels; None for the model's.
            num_inference_steps: 1 to 200; None for the model's.

        Raises:
            InvalidRequest: A parameter does not fit the model.
            OmniError: The server does not tell its model.
        """
        count = _checked_count("num_images", num_images)
        profile = (await self.model()).profile
        request = ImageRequest(
            prompt="any", width=width, height=height, num_inference_steps=num_inference_steps, seed=0
        )
        resolved = resolve(request, profile, draw_seed=self._draw_seed)
        return estimate(
            profile,
            width=resolved.width,
            height=resolved.height,
            num_inference_steps=resolved.num_inference_steps,
            num_images=count,
            guided=resolved.guided,
            total_vram_gb=self._gpu.total_vram_gb,
        )

    async def _at_once(self, asked: int | None) -> int:
        if asked is not None:
            return _checked_count("max_concurrent", asked)
        return self._max_concurrent or await self.recommended_concurrency()

    def _remember(self, batch: PictureBatch) -> None:
        ended = [name for name, known in self._batches.items() if known.over]
        for name in ended[: max(0, len(ended) - _BATCHES_KEPT + 1)]:
            del self._batches[name]
        self._batches[batch.id] = batch

    async def _known_model(self) -> ServedModel:
        return self._model or await self.model()

    async def _peak_memory_mb(self) -> float | None:
        try:
            return (await self._backend.get_metrics()).peak_memory_mb
        except OmniError:
            return None

    async def _pinned(self, request: ImageRequest, position: int | None = None) -> ImageRequest:
        """The request, checked against the loaded model, with its seed drawn."""
        profile = (await self._known_model()).profile
        check_filename(request.filename)
        try:
            resolved = resolve(request, profile, draw_seed=self._draw_seed)
        except InvalidRequest as error:
            if position is not None:
                error.add_note(f"(request {position} of the batch, counted from 0; nothing was sent)")
            raise
        return replace(request, seed=resolved.seed)

    async def _made(self, request: ImageRequest, record: Record = _unrecorded) -> GeneratedImage:
        started = self._timer()
        model, resolved, reply = await self._answered(request)
        seconds = self._timer() - started
        kept = functools.partial(self._kept, request.filename, model, resolved, reply, seconds)
        saving = asyncio.ensure_future(asyncio.to_thread(kept))
        try:
            return await asyncio.shield(saving)
        except asyncio.CancelledError:
            # A picture that the GPU has made is written whole before the cancellation goes on.
            await asyncio.wait([saving])
            raise
        finally:
            if saving.done() and saving.exception() is None:
                record(saving.result())

    async def _answered(self, request: ImageRequest) -> tuple[ServedModel, ResolvedRequest, ImageGenerationReply]:
        """Send a request, and once more if the server has changed its model meanwhile."""
        model = await self._known_model()
        try:
            return await self._sent(request, model)
        except BadRequest:
            if (changed := await self.model()).name == model.name:
                raise
            return await self._sent(request, changed)

    async def _sent(
        self, request: ImageRequest, model: ServedModel
    ) -> tuple[ServedModel, ResolvedRequest, ImageGenerationReply]:
        resolved = resolve(request, model.profile, draw_seed=self._draw_seed)
        wire = resolved.to_wire().model_copy(update={"model": model.name})
        try:
            return model, resolved, await self._backend.generate_image(wire)
        except OmniError as error:
            error.add_note(f"Asked for: {resolved.size}, {resolved.num_inference_steps} steps, seed {resolved.seed}.")
            raise

    def _kept(
        self,
        filename: str | None,
        model: ServedModel,
        resolved: ResolvedRequest,
        reply: ImageGenerationReply,
        seconds: float,
    ) -> GeneratedImage:
        """Check the picture, write into it how it was made, and save it; runs in a thread."""
        now = self._now()
        received = Picture.check(reply.data[0].bytes, max_pixels=_MOST_PIXELS_OVER * resolved.size.pixels)
        picture = with_recipe(received, resolved, model=model.match.name, now=now)
        path = self._store.save(picture, prompt=resolved.prompt, now=now, filename=filename)
        return GeneratedImage(
            picture=picture,
            path=path,
            request=resolved,
            model=model.match.name,
            seconds=seconds,
            notes=_notes(model, resolved, received),
        )


def _notes(model: ServedModel, resolved: ResolvedRequest, received: Picture) -> tuple[str, ...]:
    warnings = [model.match.warning] if model.match.warning else []
    size = f"{received.width}x{received.height}"
    if size != str(resolved.size):
        warnings.append(f"The server sent {size} instead of {resolved.size}.")
    return (*warnings, *map(str, resolved.notes))


def _checked_count(parameter: str, value: object) -> int:
    return integer(parameter, value, 1, _MOST, allowed=f"a whole number from 1 to {_MOST}")


def _connected(url: str, *, api_key: str | None, timeout: float) -> Backend:
    from vllm_omni_client._client import AsyncOmniClient  # noqa: PLC0415 - httpx is slow to import

    return AsyncOmniClient(url, api_key=api_key, timeout=timeout)
