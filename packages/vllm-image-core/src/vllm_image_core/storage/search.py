"""Search: find images by what their files record, and by their ratings and tags."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path

from vllm_image_core import checks
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.index import Index, Page
from vllm_image_core.storage.query import MAX_LIMIT, Query
from vllm_image_core.storage.record import Record
from vllm_image_core.storage.sync import OnProgress
from vllm_image_core.storage.verdicts import BIN, MOST_STARS, Verdicts


class Search:
    """Searches one folder and its bin; its methods block on the disk.

    Args:
        root: The folder of the images, absolute.
        index: The folder's index, if there is one already.
    """

    def __init__(self, root: Path, index: Index | None = None) -> None:
        self._root = root
        self._index = index or Index(root)
        self._bin = Index(root / BIN)
        self._verdicts = Verdicts(root)

    def find(
        self,
        query: Query,
        *,
        kept: bool = False,
        stars: int | None = None,
        rejected: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Page:
        """Return one page of images, newest first, each with its rating and its current tag.

        Args:
            query: What the files record.
            kept: Only images that were kept.
            stars: Only images with at least this many stars, 1 to 5.
            rejected: Images in the bin instead of those in the folder.
            on_progress: See `Index.find`.

        Raises:
            InvalidRequest: Kept images are looked for in the bin, or a value is not valid.
            IndexUnavailable: The index cannot be read or written.
            VerdictsUnavailable: The file of verdicts cannot be read.
        """
        if kept and rejected:
            raise InvalidRequest(
                "An image is either kept or rejected.",
                parameter="rejected",
                value=True,
                allowed="one of them",
            )
        if stars is not None:
            checks.check_integer("stars", stars, 1, MOST_STARS, allowed=f"an integer from 1 to {MOST_STARS}")
        opinions = self._verdicts.opinions()
        names = frozenset(
            name
            for name, opinion in opinions.items()
            if (opinion.kept or not kept) and (opinion.stars or 0) >= (stars or 0)
        )
        tags = {name: opinion.tag for name, opinion in opinions.items() if opinion.tag is not None}
        if not (kept or stars):
            names = query.names
        elif query.names is not None:
            names &= query.names
        wanted = replace(query, names=names, tags=tags)
        page = (self._bin if rejected else self._index).find(wanted, on_progress=on_progress)
        folder = self._root / BIN if rejected else self._root

        def rated(record: Record) -> Record:
            opinion = opinions.get(record.path.relative_to(folder).as_posix())
            if opinion is None:
                return record
            tag = record.tag if opinion.tag is None else opinion.tag or None
            return replace(record, kept=opinion.kept, stars=opinion.stars, tag=tag)

        return replace(page, pictures=tuple(map(rated, page.pictures))) if opinions else page

    def find_all(self, query: Query, *, kept: bool) -> Generator[Record]:
        """Yield every image that a query finds, newest first, however many there are."""
        offset: int | None = 0
        while offset is not None:
            page = self.find(replace(query, limit=MAX_LIMIT, offset=offset), kept=kept)
            yield from page.pictures
            offset = page.next_offset


def requests_like(
    records: Iterable[Record], *, count: int, draw_seed: Callable[[], int]
) -> list[ImageRequest]:
    """Return requests with the settings of images and new seeds, `count` for each; blocks on the disk.

    Images whose files do not say how they were made are left out, and so are edits whose inputs are gone.

    Raises:
        InvalidRequest: No image is left.
    """
    found = [request for request in (record.as_request() for record in records) if request is not None]
    if not found:
        raise InvalidRequest(
            "No image was found whose file says how it was made.",
            parameter="images",
            value=None,
            allowed="images whose files say how they were made",
            next_step="Keep some images first, or name those that you mean.",
        )
    return [replace(request, seed=draw_seed()) for request in found for _ in range(count)]
