"""Studio, the entry point: generate, edit, batch, find and estimate images on one server or several."""

import asyncio
import functools
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, Unpack, cast

from pydantic import SecretStr
from vllm_omni_client.errors import OmniError

from vllm_image_core import checks
from vllm_image_core.batch_file.frame_rows import DataFrame
from vllm_image_core.batch_file.request_rows import RequestRows, is_row_source
from vllm_image_core.batches.batches import Batches
from vllm_image_core.batches.concurrency import ConcurrencyChooser
from vllm_image_core.batches.context import OUTAGE_SECONDS, BatchContext
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.limits import NO_LIMITS, Limits
from vllm_image_core.batches.notebook_cell import explained
from vllm_image_core.batches.ranking import Score
from vllm_image_core.batches.summary import FoundBatch
from vllm_image_core.connection import connect
from vllm_image_core.display.card import Card
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.estimation.estimator import Estimate
from vllm_image_core.estimation.gpu import Gpu, GpuReport
from vllm_image_core.estimation.service_times import ServiceTimes
from vllm_image_core.estimation.work import Work
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.fleet.health import Health, examine
from vllm_image_core.fleet.server import ServerList, ServerReport
from vllm_image_core.generation.forecast import Forecast
from vllm_image_core.generation.generator import Generator
from vllm_image_core.generation.loaded_model import LoadedModel
from vllm_image_core.image_folder import ImageFolder, folder_path
from vllm_image_core.imaging.contact_sheet import MAX_PICTURES
from vllm_image_core.models.registry import Registry
from vllm_image_core.models.served import ServedModel, choose_model
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.expansion import Expansion, Prompts, PromptSource, Variations
from vllm_image_core.requests.fields import RANDOM_SEED, RequestValues, with_named_parameters
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.input_picture import InputImage
from vllm_image_core.requests.limits import draw_seed
from vllm_image_core.requests.style_folder import Styles
from vllm_image_core.requests.sweep import ALIASES
from vllm_image_core.requests.wildcards import Wildcards
from vllm_image_core.storage.grouped_writes import GROUP_SECONDS
from vllm_image_core.studio_views import ImageGrid
from vllm_image_core.text import folder_text

_VALUES = tuple(RequestValues.__annotations__)
_SIZE = "width and height"
_COUNTS = frozenset(("n", "num_images", "n_images", "num_outputs", "batch_size"))
"""Names by which other programs ask for several images."""

_STYLES = "styles"
_WILDCARDS = "wildcards"
"""The folder of wildcard files, in the output folder unless another is given."""

_INTERRUPTED = "Interrupted: the image was cancelled. The server may still finish it."
_RETRIES = 2
"""Retries on a studio's only server, when repeating a request is safe."""


def _local_time() -> datetime:
    return datetime.now(UTC).astimezone()


class Studio(ImageFolder):
    """Generates images on one vLLM-Omni server, or on several used as one, and saves them in one folder.

    Args:
        server: The server's base URL, or any object with the methods of ``Backend``; or a list of them.
            Several servers share the work so that it is done as soon as possible. A ``Fleet`` is used as it
            is; with ``Fleet.shared_by`` several studios use the same servers in fair order.
        output_dir: Folder for the images; created when the first one is saved. ~ is your home folder.
        spill_dir: Folder for finished images that ``output_dir`` cannot take; None creates a private folder
            under the system's temporary folder when it is needed.
        wildcards_dir: Folder of wildcard files, such as colour.txt for ``__colour__``; None for the folder
            "wildcards" in ``output_dir``.
        styles_dir: Folder of your own styles; None for the folder "styles" in ``output_dir``.
        check_space: Whether to check the free disk space before sending a request.
        api_key: Key of a server that was started with one; only used with a URL, as the next four are.
        headers: Headers of every request, for a gateway in front of the server; their values are never shown.
        verify: How certificates are checked: True trusts the public CAs, a path only those in a PEM file,
            an SSLContext whatever you set up, False anything.
        proxy: A proxy for the servers, whatever their address; False for none, None for the environment's.
        model: The model to use, by its name or Hugging Face id, if the server lists several, as gateways do;
            None for the first one that has a profile.
        assume_edits: Whether to try edits with a model that has no profile.
        timeout: Seconds that one image may take, including queueing and retries.
        max_concurrent: Images of a batch in progress at once; None for 1 to 4, as the GPU's memory allows.
        gpu: Name and memory of the server's GPU, as far as you know them.
        registry: Model profiles; None for those that come with this package.
        metadata: What to write into image files; None for everything. See ``Metadata``.
        now: Returns the local time, for file names.
        draw_seed: Returns the seed for a request without one, 0 to 4294967295.
        timer: Returns seconds on a clock that never goes back.
        outage_timeout: Seconds that a batch waits for an unavailable server or folder before it stops.
        limits: How many images may be requested in batches, and how much may be in progress at once.
        service_times: What was learned about the servers' speed, shared with other studios; None to learn
            from the images in ``output_dir``. See ``ServiceTimes.of_folder``.

    Use it as ``async with Studio(url) as studio``, or call ``aclose()`` at the end.

    Raises:
        InvalidRequest: A folder is in the home folder of a user that does not exist.
    """

    def __init__(
        self,
        server: str | Backend | Sequence[str | Backend],
        *,
        output_dir: Path | str = "generated_images",
        spill_dir: Path | str | None = None,
        wildcards_dir: Path | str | None = None,
        styles_dir: Path | str | None = None,
        check_space: bool = True,
        api_key: str | SecretStr | None = None,
        headers: Mapping[str, str | SecretStr] | None = None,
        verify: bool | str | PathLike[str] | ssl.SSLContext = True,
        proxy: str | SecretStr | Literal[False] | None = None,
        model: str | None = None,
        assume_edits: bool = False,
        timeout: float = 300.0,
        max_concurrent: int | None = None,
        gpu: Gpu | None = None,
        registry: Registry | None = None,
        metadata: Metadata | None = None,
        now: Callable[[], datetime] = _local_time,
        draw_seed: Callable[[], int] = draw_seed,
        timer: Callable[[], float] = time.perf_counter,
        outage_timeout: float = OUTAGE_SECONDS,
        limits: Limits = NO_LIMITS,
        service_times: ServiceTimes | None = None,
    ) -> None:
        # No frame and no attribute shows a secret from here on: error reporters write their reprs.
        api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        proxy = SecretStr(proxy) if isinstance(proxy, str) else proxy
        headers = {
            name: SecretStr(value) if isinstance(value, str) else value
            for name, value in (headers or {}).items()
        }
        servers = server if isinstance(server, Sequence) and not isinstance(server, str) else [server]
        self._connect = functools.partial(
            connect, api_key=api_key, headers=headers, verify=verify, proxy=proxy, timeout=timeout
        )
        # If one of several servers fails, the request goes to another one instead of being retried there.
        retries = _RETRIES if len(servers) == 1 else 0
        super().__init__(output_dir, spill_dir=spill_dir, check_space=check_space)
        self._styles = Styles(
            self._library.root / _STYLES if styles_dir is None else folder_path("styles_dir", styles_dir)
        )
        self._wildcards_dir = (
            self._library.root / _WILDCARDS
            if wildcards_dir is None
            else folder_path("wildcards_dir", wildcards_dir)
        )
        self._draw_seed = draw_seed
        self._timer = timer
        profiles = registry or Registry.builtin()
        profiles = profiles.assuming_edits() if assume_edits else profiles
        speeds = service_times or ServiceTimes.of_folder(self._library.root, group_seconds=GROUP_SECONDS)
        self._backend = (
            server
            if isinstance(server, Fleet)
            else Fleet(
                [self._connect(each, max_retries=retries) for each in servers],
                learned=speeds.seconds_per_cost,
                choose=lambda models: choose_model(models, profiles, model),
            )
        )
        self._loaded = LoadedModel(self._backend, profiles, speeds, draw_seed=draw_seed, wanted=model)
        self._generator = Generator(
            self._backend, self._library, self._loaded, speeds, now=now, timer=timer, metadata=metadata
        )
        self._speeds = speeds
        self._forecast = Forecast(
            self._loaded, self._backend, speeds, profiles, gpu=gpu or Gpu(), max_concurrent=max_concurrent
        )
        self._batches = Batches(
            BatchContext(
                backend=self._backend,
                generator=self._generator,
                loaded=self._loaded,
                library=self._library,
                journal=self._journal,
                registry=profiles,
                timer=timer,
                speeds=self._forecast.speeds,
                outage_seconds=outage_timeout,
                limits=limits,
            ),
            concurrency=ConcurrencyChooser(
                self._forecast.choose_concurrency, is_set=max_concurrent is not None
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the running batches, which can be resumed later, and close the connections to the servers."""
        await self._batches.aclose()
        await self._backend.aclose()
        await asyncio.to_thread(self._generator.flush)

    @property
    def server_url(self) -> str:
        """The server's base URL without credentials; for several servers, all of them separated by commas."""
        return self._backend.base_url

    @property
    def servers(self) -> tuple[ServerReport, ...]:
        """A report on each server: its model, its load, and whether it gets requests."""
        return ServerList(self._backend.members)

    def add_server(self, server: str | Backend) -> None:
        """Add a server; this also works while images are being generated.

        Raises:
            InvalidRequest: The studio already has this server.
        """
        self._backend.join(self._connect(server, max_retries=0))

    async def remove_server(self, url: str) -> None:
        """Remove a server: send it no more requests, wait for those it has, and close its connections.

        Raises:
            InvalidRequest: The studio does not have this server, or it is the last one.
        """
        await self._backend.leave(url)

    def _card(self) -> Card:
        servers = ", ".join(f"{each.url} ({each.model or 'not asked yet'})" for each in self.servers)
        return Card(title=f"Studio on {servers}", facts={"folder": folder_text(self.output_dir)})

    @with_named_parameters()
    async def generate(
        self,
        prompt: str,
        *,
        fresh: bool = False,
        **values: Unpack[RequestValues],
    ) -> GeneratedImage:
        """Generate one image and save it, or return the image that this request and seed gave before.

        Args:
            prompt: What the image shows.
            fresh: Generate the image even if the same request with the same seed was generated before.
            values: The fields of an ``ImageRequest``; the model's profile decides what you omit.

        Raises:
            InvalidRequest: A parameter does not fit the model; nothing was sent.
            CannotSave: The folder is not writable or too full; nothing was sent.
            PictureNotSaved: The image was generated but neither folder could take it; the error holds it.
            BadPicture: The server sent something that is not an image.
            OmniError: The server refused, failed, or did not answer.
        """
        return await self.make(ImageRequest(prompt=prompt, **_request_values(values)), fresh=fresh)

    @with_named_parameters()
    async def edit(  # noqa: D417 - the others are those of `generate`
        self,
        prompt: str,
        images: InputImage | list[InputImage] | tuple[InputImage, ...],
        *,
        mask: InputImage | None = None,
        mask_box: Sequence[float] | Sequence[Sequence[float]] | None = None,
        mask_polygon: Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]] | None = None,
        mask_feather: float | None = None,
        outpaint: str | None = None,
        upscale: float | None = None,
        reference_image: InputImage | None = None,
        strength: float | None = None,
        layers: int | None = None,
        resolution: int | None = None,
        fresh: bool = False,
        **values: Unpack[RequestValues],
    ) -> GeneratedImage:
        """Edit an image, or combine up to 4, and save the result; otherwise works as ``generate``.

        If you cancel an edit, the server still finishes it. If only one side is given, the other follows from
        the image's shape.

        Args:
            prompt: What to change.
            images: One image, or 1 to 4 of them: paths, bytes, images of this package or Pillow images. The
                first one is edited, and sets the size if you give none.
            mask: White where the image may change; refused if the model does not support masks.
            mask_box: A box that may change instead, [left, top, right, bottom], or several: pixels, or
                fractions of the image if no number is above 1.
            mask_polygon: Likewise the corners of a polygon, [[x, y], ...], or several.
            mask_feather: Pixels over which the edge of boxes and polygons is soft.
            outpaint: An aspect ratio to extend the image to, such as "16:9"; refused if the model does not
                support masks.
            upscale: How many times larger each side becomes, 1.1 to 4; refused if the model does not start
                from an image with a strength, which is 0.3 here if you give none.
            reference_image: An image to borrow from; refused if the model does not support one.
            strength: 0 to 1, how far the result may differ; dropped with a note if the model ignores it.
            layers: 2 to 10; only for models that split an image into layers. See ``GeneratedImage.layers``.
            resolution: 640 or 1024, instead of a size; only for these models, too.
            values: As in ``generate``.

        Raises:
            InvalidRequest: The model does not support this edit (the message names models that do), an image
                cannot be used, or as ``generate``. Nothing was sent.
        """
        return await self.make(
            EditRequest(
                prompt=prompt,
                images=images,
                mask=mask,
                mask_box=mask_box,
                mask_polygon=mask_polygon,
                mask_feather=mask_feather,
                outpaint=outpaint,
                upscale=upscale,
                reference_image=reference_image,
                strength=strength,
                layers=layers,
                resolution=resolution,
                **_request_values(values),
            ),
            fresh=fresh,
        )

    async def check(self, request: ImageRequest) -> None:
        """Check whether the loaded model can do a request, without sending it.

        Raises:
            InvalidRequest: It cannot.
            OmniError: The server does not say which model it serves.
        """
        await self._generator.check(self._styles.named(request))

    async def make(self, request: ImageRequest, *, fresh: bool = False) -> GeneratedImage:
        """Generate the image of a request and save it; raises what ``generate`` raises."""
        with explained(lambda: [_INTERRUPTED]):
            job = await self._generator.check(self._styles.named(request), fresh=fresh)
            await asyncio.to_thread(self._library.check_writable, pixels=job.resolved.pixels)
            return await self._generator.generate(job)

    @with_named_parameters()
    def batch(
        self,
        requests: Prompts | Path | DataFrame,
        *,
        count: int | None = None,
        seeds: Sequence[int] | None = None,
        sweep: Mapping[str, Sequence[object]] | None = None,
        zip: bool = False,  # noqa: A002 - the grammar's own name, and keyword-only
        wildcards: bool = False,
        max_concurrent: int | None = None,
        fresh: bool = False,
        recorded_first: bool = False,
        score: Score | None = None,
        keep: int | None = None,
        **values: Unpack[RequestValues],
    ) -> ImageBatch:
        """Create a batch of images; it starts when you await, enter or read it. See ``ImageBatch``.

        Args:
            requests: A prompt or a list of prompts: text, requests, or objects with the fields of a request
                and ``size``, ``count``, ``sweep``, ``zip`` or ``wildcards``. A list is checked and recorded
                completely before the first request is sent. Or an iterator of any length, async or not,
                which is recorded ahead of the requests that are sent. Or the path of a .txt, .csv, .tsv,
                .jsonl or .parquet file, or a data frame of pandas, Polars or PyArrow, whose columns are these
                fields; ``ImageBatch.refused`` lists the rows that cannot be used.
            count: Images for each prompt, with seeds of their own: seed, seed + 1 and so on if one is given.
            seeds: One for each prompt in a list.
            sweep: Lists of values by parameter, ``size``, or words of the prompt: an image for each
                combination, such as ``{"guidance_scale": [3, 5], "red": ["red", "blue"]}``.
            zip: Pair the swept lists, first with first and so on, instead of combining them.
            wildcards: Expand ``{red|blue}`` and ``__colour__`` in the prompts: every combination, or a random
                one for each image of a count.
            max_concurrent: Images in progress at once, at least 1; None for the studio's setting, or as the
                GPU's memory allows.
            fresh: Generate every image; otherwise requests with a seed return an image that already exists.
            recorded_first: Whether to record an iterator to its end before the first request is sent.
            score: Called with each image when the batch is over; a higher number is better. It may be async;
                otherwise it runs in a thread. ``ImageBatch.ranking`` has the images, the best first.
            keep: How many of the best images to keep; see ``rate``.
            values: For every prompt that does not set it itself.

        Raises:
            InvalidRequest: A prompt of a list or the sweep cannot be used, or one prompt has more than 1,000
                images.
        """
        if keep is not None and score is None:
            raise checks.invalid_value("keep", keep, "needs a score", "keep together with score")
        variations = Variations(count=count, sweep=sweep, zip=zip, wildcards=wildcards)
        expansion = self.expansion(variations, ImageRequest(prompt="", **_request_values(values)))
        if is_row_source(requests) and seeds is None:
            source = RequestRows(requests, expansion.of_prompt)
        else:
            source = expansion.requests(cast("Prompts", requests), seeds=seeds)
        return self._batches.new(
            source,
            max_concurrent=max_concurrent,
            fresh=fresh,
            recorded_first=recorded_first,
            rank=None if score is None else functools.partial(self._rank, score=score, keep=keep),
        )

    @with_named_parameters()
    async def grid(
        self,
        prompts: PromptSource | Sequence[PromptSource],
        *,
        count: int | None = None,
        sweep: Mapping[str, Sequence[object]] | None = None,
        zip: bool = False,  # noqa: A002 - as in `batch`
        wildcards: bool = False,
        longest_side: int = 1536,
        max_bytes: int = 1_000_000,
        fresh: bool = False,
        **values: Unpack[RequestValues],
    ) -> ImageGrid:
        """Generate the images of a batch, and draw them in a grid whose columns and rows are labelled.

        The first swept parameter varies from column to column, the second from row to row, and the third, or
        the prompt, from block to block. Images that are not all combinations of up to three settings are
        drawn on a numbered sheet.

        Args:
            prompts: As for ``batch``, with at most 256 images in all.
            count: As for ``batch``.
            sweep: As for ``batch``.
            zip: As for ``batch``.
            wildcards: As for ``batch``.
            longest_side: Of the drawing, in pixels, 16 to 4096.
            max_bytes: Size limit of the drawing, 1024 bytes to 16 MiB.
            fresh: As for ``batch``.
            values: As for ``batch``.

        Raises:
            InvalidRequest: As for ``batch`` and ``xy_grid``; nothing was sent.
            OmniError: No image could be generated; this is the first failure.
        """
        variations = Variations(count=count, sweep=sweep, zip=zip, wildcards=wildcards)
        listed = prompts if isinstance(prompts, (list, tuple)) else [cast("PromptSource", prompts)]
        expansion = self.expansion(variations, ImageRequest(prompt="", **_request_values(values)))
        requests = expansion.expand(listed, most=MAX_PICTURES)
        batch = await self._batches.new(requests, max_concurrent=None, fresh=fresh, recorded_first=False)
        await batch.wait()
        if not batch.images and batch.errors:
            raise next(iter(batch.errors.values()))
        return await self.draw_grid(batch, longest_side=longest_side, max_bytes=max_bytes)

    def expansion(self, variations: Variations, shared: ImageRequest) -> Expansion:
        """Return the object that expands one batch's prompts, with this studio's seeds and wildcard files."""
        return Expansion(
            variations,
            shared=replace(shared, seed=None) if shared.seed == RANDOM_SEED else shared,
            wildcards=Wildcards(self._wildcards_dir),
            draw_seed=self._draw_seed,
            styles=self._styles,
        )

    @property
    def styles(self) -> Styles:
        """The saved styles: list, find, save and remove them."""
        return self._styles

    def resume(self, batch_id: str, *, max_concurrent: int | None = None) -> ImageBatch:
        """Resume a batch of this folder, from any process; it continues when you await, enter or read it.

        Only missing images are generated; images that are complete on the disk stay.

        Args:
            batch_id: The batch's id.
            max_concurrent: Images in progress at once, at least 1; None for the number the batch was given.
                If it was given none: the studio's setting, or as the GPU's memory allows.
        """
        return self._batches.resume(batch_id, max_concurrent=max_concurrent)

    async def cancel_batch(self, batch_id: str) -> FoundBatch:
        """Cancel a batch and return its state; a batch that has ended stays as it is.

        If another process runs the batch, it is asked to cancel it and given a few seconds.

        Raises:
            UnknownBatch: This folder has no batch with that id.
            JournalUnavailable: The journal of batches cannot be read or written.
        """
        await self._batches.cancel(batch_id)
        return await self.find_batch(batch_id)

    def set_limits(self, limits: Limits) -> None:
        """Check batches that are begun or resumed from now on against these limits."""
        self._batches.set_limits(limits)

    async def model(self) -> ServedModel:
        """Ask the server for its model, and find the profile that matches it."""
        return await self._loaded.fetch()

    async def health(self) -> Health:
        """Check whether the server can generate images; an unreachable server is a result, not an error."""
        return await examine(self._backend, timer=self._timer)

    async def gpu_seconds(self, image: GeneratedImage) -> float:
        """Estimate for how many seconds an image kept a GPU busy: 0 if it existed already.

        Raises:
            OmniError: The server does not say which model it serves.
        """
        if image.reused:
            return 0.0
        profile = (await self._loaded.cached()).profile
        work = Work.of(image.request, profile)
        return self._speeds.best(profile, work.task).seconds(work)

    async def requests_of_others(self) -> int | None:
        """Count the servers' requests that are not from this studio; None if the servers do not report it."""
        try:
            return await self._backend.requests_of_others()
        except OmniError:
            return None

    async def gpu(self) -> GpuReport:
        """Report the GPU's memory and the source of each number; None for what is not known."""
        return await self._forecast.gpu()

    async def estimate(
        self,
        *,
        num_images: int = 1,
        width: int | None = None,
        height: int | None = None,
        num_inference_steps: int | None = None,
    ) -> Estimate:
        """Predict the time and memory of some images, without generating them.

        The prediction is based on the images that this server has generated before, for any studio on this
        folder; if there are none, on the model's profile. It includes the server's queue. Several servers
        share the images according to their speed.

        Args:
            num_images: 1 to 1,000,000.
            width: Pixels; None for the model's default.
            height: Pixels; None for the model's default.
            num_inference_steps: 1 to 200; None for the model's default.

        Raises:
            InvalidRequest: A parameter does not fit the model.
            OmniError: The server does not say which model it serves.
        """
        request = ImageRequest(
            prompt="any", width=width, height=height, num_inference_steps=num_inference_steps, seed=0
        )
        return await self._forecast.pictures(request, num_images)

    async def estimate_edit(self, request: EditRequest) -> Estimate:
        """Predict the time and memory of an edit, without running it; its notes say what is not included.

        Raises:
            InvalidRequest: The model cannot do it, or an image cannot be used.
            OmniError: The server does not say which model it serves.
        """
        return await self._forecast.edit(self._styles.named(request))


def _request_values(values: RequestValues) -> RequestValues:
    """Return the values of a request, without the seed if it is the one that asks for a random one.

    Raises:
        InvalidRequest: A name is not that of a value; the message says which one was probably meant.
    """
    unknown = next((name for name in values if name not in _VALUES), None)
    if unknown is None:
        return {**values, "seed": None} if values.get("seed") == RANDOM_SEED else values
    aliases = {name: field for name, field in ALIASES.items() if field in _VALUES}
    meant = {**aliases, **{name: name for name in _VALUES}, "size": _SIZE, "resolution": _SIZE}
    near = [meant[name] for name in get_close_matches(unknown, meant, n=1)]
    if unknown in _COUNTS:
        hint = "for several images, use batch."
    else:
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(_VALUES)}."
    raise InvalidRequest(
        f"{unknown} is not a parameter of an image; {hint}",
        parameter=unknown,
        value=values.get(unknown),
        allowed=", ".join(_VALUES),
    )
