"""ImageFolder: find, show, rate and recall the images of a folder, and read its batches, without a server."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.ranking import Ranking, Score, ranking
from vllm_image_core.batches.summary import BatchList, BatchSummary, FoundBatch
from vllm_image_core.checks import check_integer
from vllm_image_core.display.card import Card
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.contact_sheet import MAX_PICTURES
from vllm_image_core.provenance.recall import RecalledRequest, recall
from vllm_image_core.requests import limits
from vllm_image_core.requests.fields import OutputFormat
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.limits import draw_seed
from vllm_image_core.requests.sweep import MOST_IMAGES
from vllm_image_core.storage.edit_inputs import find_inputs
from vllm_image_core.storage.export import export_images
from vllm_image_core.storage.grouped_writes import GROUP_SECONDS
from vllm_image_core.storage.index import Page
from vllm_image_core.storage.library import Library
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.record import Record
from vllm_image_core.storage.search import requests_like
from vllm_image_core.storage.verdicts import BIN, Verdict, Verdicts, current_path, listed_name
from vllm_image_core.studio_views import ImageGrid, StudioViews
from vllm_image_core.text import brief, folder_text

ImageFile = GeneratedImage | Record | Path | str
"""An image in the output folder: a generated or found one, its path, or its file name."""

_MOST: Final = 1_000_000
"""Upper limit for the number of batches or requests in one answer."""


class ImageFolder(StudioViews):
    """The images and batches of one output folder, whichever process made them.

    Args:
        output_dir: The folder; ~ is your home folder. It need not exist.
        spill_dir: Folder for finished images that ``output_dir`` cannot take; None for a private one.
        check_space: Whether to check the free disk space before a request is sent.

    Raises:
        InvalidRequest: A folder is in the home folder of a user that does not exist.
    """

    def __init__(
        self, output_dir: Path | str, *, spill_dir: Path | str | None = None, check_space: bool = True
    ) -> None:
        self._library = Library(
            folder_path("output_dir", output_dir),
            spill_dir=None if spill_dir is None else folder_path("spill_dir", spill_dir),
            check_space=check_space,
            group_seconds=GROUP_SECONDS,
        )
        self._journal = Journal(self._library.root)
        self._verdicts = Verdicts(self._library.root)
        self._draw_seed = draw_seed

    def _card(self) -> Card:
        return Card(title="Image folder", facts={"folder": folder_text(self.output_dir)})

    @property
    def output_dir(self) -> Path:
        """The folder of the images, as an absolute path."""
        return self._library.root

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
        kept: bool = False,
        stars: int | None = None,
        rejected: bool = False,
        limit: int = 50,
        offset: int = 0,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> Page:
        """Find images in the output folder, newest first; without arguments, the last 50.

        Args:
            text: Words that must all occur in the prompt, the tag or the file name, in any order and any
                form of an English word; "sno*" finds "snow".
            model: The model's exact name.
            seed: -2**63 to 2**63 - 1.
            width: Pixels.
            height: Pixels.
            since: Generated at this time or later; a time without a zone is local.
            until: Generated before this time.
            batch: A batch's id.
            tag: The exact tag.
            kept: Only images that were kept; see ``rate``.
            stars: Only images with at least this many stars, 1 to 5.
            rejected: The rejected images, which are in the bin, instead of the others.
            limit: Maximum number of images, 1 to 1,000.
            offset: Number of newest images to skip; the previous page's ``next_offset``.
            on_progress: Called with the number of files that have been read and the number of all, while a
                folder with many new images is read.

        Raises:
            InvalidRequest: A value cannot be searched for.
            IndexUnavailable: The folder's index cannot be read or written.
            VerdictsUnavailable: The folder's file of verdicts cannot be read.
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
        loop = asyncio.get_running_loop()
        report = on_progress and functools.partial(loop.call_soon_threadsafe, on_progress)
        return await asyncio.to_thread(
            self._library.search.find, query, kept=kept, stars=stars, rejected=rejected, on_progress=report
        )

    async def rate(
        self,
        images: str | Sequence[ImageFile],
        *,
        indexes: Sequence[int] = (),
        verdict: Verdict | None = None,
        stars: int | None = None,
        tag: str | None = None,
    ) -> tuple[Path, ...]:
        """Keep, reject, rate or tag images, and return where their files are afterwards.

        A rejected image is moved into the folder "rejected" in ``output_dir``, and "clear" or "keep" moves it
        back. Nothing is deleted, and a resumed batch does not generate a rejected image again.

        Args:
            images: Images of this folder: generated or found ones, paths or file names; or a batch's id.
            indexes: With a batch's id, the positions of its images, from 0, as on its contact sheet.
            verdict: "keep", "reject", or "clear" to take back either.
            stars: 1 to 5, or 0 to remove the rating.
            tag: The tag instead of the one they have, for ``find``; "" for none.

        Raises:
            InvalidRequest: An image is not in this folder, or a value is not valid; nothing was done.
            UnknownBatch: This folder has no batch with that id.
            CannotSave: A file cannot be moved.
            VerdictsUnavailable: The folder's file of verdicts cannot be written.
        """
        names = [_name_in(self.output_dir, each) for each in await self._chosen(images, indexes)]
        return await asyncio.to_thread(self._verdicts.decide, names, verdict=verdict, stars=stars, tag=tag)

    async def more_like(
        self, images: Sequence[ImageFile] | None = None, *, count: int = 1
    ) -> list[ImageRequest]:
        """Return the requests of images with new seeds, for ``batch``: more images like those.

        Args:
            images: Images of this folder; None for those that were kept.
            count: How many requests for each, each with a seed of its own.

        Raises:
            InvalidRequest: There is no image whose file says how it was made.
            IndexUnavailable: The folder's index cannot be read or written.
        """
        check_integer("count", count, 1, MOST_IMAGES, allowed=f"an integer from 1 to {MOST_IMAGES}")
        folder = self.output_dir
        given = [_name_in(folder, each) for each in images or ()]
        names = None if images is None else frozenset(listed_name(folder, each) or each for each in given)
        records = self._library.search.find_all(Query(names=names), kept=names is None)
        return await asyncio.to_thread(requests_like, records, count=count, draw_seed=self._draw_seed)

    async def _rank(self, images: Mapping[int, GeneratedImage], *, score: Score, keep: int | None) -> Ranking:
        """Rank the images of a batch, and keep this many of the best."""
        ranked = await ranking(images, score)
        if best := [each.image for each in ranked[: keep or 0]]:
            await self.rate(best, verdict="keep")
        return ranked

    async def export(
        self,
        images: str | Sequence[ImageFile],
        folder: Path | str,
        *,
        indexes: Sequence[int] = (),
        output_format: OutputFormat | None = None,
        overwrite: bool = False,
    ) -> tuple[Path, ...]:
        """Copy images into another folder, such as that of a project, and return the new files.

        They keep their names, without subfolders, and what their files say about how they were made.

        Args:
            images: Images of this folder: generated or found ones, paths or file names; or a batch's id.
            folder: Where to; created if it is missing.
            indexes: With a batch's id, the positions of its images, from 0, as on its contact sheet.
            output_format: "png", "jpeg" or "webp" to convert them; None copies them byte for byte.
            overwrite: Whether files of the same names are replaced.

        Raises:
            InvalidRequest: An image is not in this folder, or a file is in the way; nothing was written.
            UnknownBatch: This folder has no batch with that id.
            CannotSave: A file cannot be written.
        """
        chosen = None if output_format is None else limits.output_format(output_format)
        paths = [self._file_of(each) for each in await self._chosen(images, indexes)]
        target = folder_path("folder", folder)
        return await asyncio.to_thread(
            export_images, paths, target, output_format=chosen, overwrite=overwrite
        )

    async def _chosen(self, images: str | Sequence[ImageFile], indexes: Sequence[int]) -> list[ImageFile]:
        """Return the images that a caller means: those given, or those of a batch at some positions."""
        if not isinstance(images, str):
            return [*images]
        found = await self.find_batch(images, limit=1 + max(indexes, default=0))
        paths = {item.position: item.path for item in found.items}
        return [paths.get(index) or f"{images} {index}" for index in indexes]

    def _file_of(self, image: ImageFile) -> Path:
        name = _name_in(self.output_dir, image)
        is_inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        listed = listed_name(self.output_dir, name) if is_inside else ""
        path = current_path(self.output_dir, listed)
        if not path.is_file():
            raise InvalidRequest(
                f"{brief(name)} is not an image in {folder_text(self.output_dir)}.",
                parameter="images",
                value=name,
                allowed="images of the output folder",
            )
        return path

    async def keep_best(
        self, batch: ImageBatch, score: Score, *, most: int, reject_others: bool = False
    ) -> tuple[GeneratedImage, ...]:
        """Keep the images of a batch with the highest scores, and return them, the best first.

        Waits for the batch to end; it starts it if necessary.

        Args:
            batch: The batch.
            score: Called with each image, one after another, in a thread unless it is async; a higher number
                is better.
            most: How many to keep.
            reject_others: Whether to reject the others; see ``rate``.

        Raises:
            InvalidRequest: A score is not a number.
        """
        await batch.wait()
        ranked = [each.image for each in await self._rank(batch.images, score=score, keep=most)]
        if reject_others and ranked[most:]:
            await self.rate(ranked[most:], verdict="reject")
        return tuple(ranked[:most])

    async def recall(self, file: Path | str | bytes) -> RecalledRequest:
        """Read the parameters in an image file; ``make(recalled.request)`` generates the image again.

        Args:
            file: Path or content of a PNG, JPEG or WebP of this package, AUTOMATIC1111, ComfyUI or InvokeAI.

        Raises:
            NotRecalled: The file cannot be read, is not an image, or holds no parameters.
        """
        return await asyncio.to_thread(_recall, file, self.output_dir)

    async def batches(self, limit: int = 20) -> tuple[BatchSummary, ...]:
        """List the newest batches of this folder, from any process, newest first.

        Raises:
            InvalidRequest: The limit is not between 1 and 1,000,000.
            JournalUnavailable: The journal of batches cannot be read.
        """
        return BatchList(await asyncio.to_thread(self._journal.batches, _count(limit)))

    async def find_batch(self, batch_id: str, *, limit: int = 1000, offset: int = 0) -> FoundBatch:
        """Return a batch of this folder, from any process, with a page of its requests.

        Args:
            batch_id: The batch's id.
            limit: Maximum number of requests, 1 to 1,000,000.
            offset: Position of the first request; the previous page's ``next_offset``.

        Raises:
            UnknownBatch: This folder has no batch with that id.
            JournalUnavailable: The journal of batches cannot be read.
        """
        most = _count(limit)
        start = check_integer("offset", offset, 0, 2**31, allowed="an integer of 0 or more")
        return await asyncio.to_thread(self._journal.read_batch, str(batch_id), offset=start, limit=most)

    async def draw_grid(
        self, batch: ImageBatch, *, longest_side: int = 1536, max_bytes: int = 1_000_000
    ) -> ImageGrid:
        """Draw the images of a batch that was given as a list in a grid, as ``grid`` does.

        Raises:
            InvalidRequest: It has more than 256 images; or as for ``xy_grid``.
        """
        found = await self.find_batch(batch.id, limit=MAX_PICTURES + 1)
        return await self._draw_grid(found, [*batch.requests], longest_side=longest_side, max_bytes=max_bytes)


def folder_path(parameter: str, given: Path | str) -> Path:
    """Return a folder with ~ replaced by the home folder."""
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise InvalidRequest(
            f"{parameter}: {brief(str(given))} begins with the home folder of a user that does not exist on "
            "this machine.",
            parameter=parameter,
            value=str(given),
            allowed="a folder",
            next_step="Write the path itself.",
        ) from error


def _name_in(folder: Path, image: ImageFile) -> str:
    """Return the name of an image's file in a folder or in its bin; a full path for any other."""
    path = Path(image.path if isinstance(image, (GeneratedImage, Record)) else image)
    inside = next((each for each in (folder / BIN, folder) if path.is_relative_to(each)), None)
    return path.relative_to(inside).as_posix() if inside else path.as_posix()


def _recall(file: Path | str | bytes, folder: Path) -> RecalledRequest:
    recalled = recall(file)
    return replace(recalled, request=find_inputs(folder, recalled.request, recalled.inputs))


def _count(limit: int) -> int:
    return check_integer("limit", limit, 1, _MOST, allowed=f"an integer from 1 to {_MOST}")
