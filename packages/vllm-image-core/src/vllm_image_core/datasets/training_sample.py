"""Training sample: read an image with its prompt from a dataset, and decide whether to use it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vllm_image_core.checks import check_integer, invalid_value
from vllm_image_core.datasets.image_row import ImageRow
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.row_parts import read_rows
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging.perceptual_hash import NearDuplicates, perceptual_hash
from vllm_image_core.imaging.picture import Picture, read_text
from vllm_image_core.provenance.facts import json_object
from vllm_image_core.provenance.recipe import find_recipe

__all__ = ["SampleFilter", "TrainingSample", "read_samples"]

_AHEAD: Final = 16
"""Images that are read ahead of the one that is written."""

_MOST_BITS: Final = 16
_MOST_STARS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSample:
    """An image of a dataset with what a model learns from it.

    Attributes:
        row: What is known about the image.
        picture: The image.
        prompt: What it shows; "" if its file does not say.
        score: What the filter's function gave it; None if there is none.
    """

    row: ImageRow
    picture: Picture
    prompt: str
    score: float | None = None

    @property
    def id(self) -> str:
        """The id of its request, 32 hexadecimal digits."""
        return (self.row.job_id or b"").hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFilter:
    """Which images of a dataset are used.

    Attributes:
        min_rating: The fewest stars, 1 to 5, in `ratings`; an image without a rating is not used.
        ratings: Stars by the id of the image, in 32 hexadecimal digits.
        score: Gives an image a number; called in a thread.
        min_score: The lowest number for which an image is used.
        duplicate_bits: Images are left out whose perceptual hash differs from that of an earlier one in at
            most this many of its 64 bits, 0 to 16; None to keep all.

    Raises:
        InvalidRequest: A value is out of range, or one is missing that another one needs.
    """

    min_rating: int | None = None
    ratings: Mapping[str, int] | None = None
    score: Callable[[Picture, str], float] | None = None
    min_score: float | None = None
    duplicate_bits: int | None = None

    def __post_init__(self) -> None:
        if self.min_rating is not None:
            allowed = f"1 to {_MOST_STARS}"
            check_integer("min_rating", self.min_rating, 1, _MOST_STARS, allowed=allowed)
            if self.ratings is None:
                raise invalid_value("ratings", None, "has no stars to compare with", "stars by id")
        if self.min_score is not None and self.score is None:
            raise invalid_value("score", None, "gives no score to compare with", "a function")
        if self.duplicate_bits is not None:
            bits = f"0 to {_MOST_BITS}"
            check_integer("duplicate_bits", self.duplicate_bits, 0, _MOST_BITS, allowed=bits)

    def __str__(self) -> str:
        parts = [
            f"at least {self.min_rating} stars" if self.min_rating is not None else "",
            f"a score of at least {self.min_score:g}" if self.min_score is not None else "",
            "no image that looks like an earlier one" if self.duplicate_bits is not None else "",
        ]
        return ", ".join(filter(None, parts)) or "none"


async def read_samples(store: ObjectStore, chosen: SampleFilter) -> AsyncGenerator[TrainingSample]:
    """Yield the images of a dataset that pass a filter, in the order of their ids."""
    rows = [row for row in await read_rows(store) if _is_rated(row, chosen)]
    seen = None if chosen.duplicate_bits is None else NearDuplicates(chosen.duplicate_bits)
    for start in range(0, len(rows), _AHEAD):
        group = rows[start : start + _AHEAD]
        for found in await asyncio.gather(*(_sample(store, row, chosen) for row in group)):
            if found is None:
                continue
            sample, look = found
            if seen is None or look is None or seen.add(look):
                yield sample


def _is_rated(row: ImageRow, chosen: SampleFilter) -> bool:
    if chosen.min_rating is None or chosen.ratings is None or row.job_id is None:
        return True
    return chosen.ratings.get(row.job_id.hex(), 0) >= chosen.min_rating


async def _sample(
    store: ObjectStore, row: ImageRow, chosen: SampleFilter
) -> tuple[TrainingSample, int | None] | None:
    data = None if row.uri is None else await store.read(store.name_of(row.uri))
    return None if data is None else await asyncio.to_thread(_read, row, data, chosen)


def _read(row: ImageRow, data: bytes, chosen: SampleFilter) -> tuple[TrainingSample, int | None] | None:
    try:
        picture = Picture.check(data)
        look = None if chosen.duplicate_bits is None else perceptual_hash(picture.pil())
    except BadPicture:
        return None  # its file was changed since
    prompt = json_object(find_recipe(read_text(data)) or "{}").get("prompt")
    text = prompt if isinstance(prompt, str) else ""
    score = None if chosen.score is None else float(chosen.score(picture, text))
    if score is not None and chosen.min_score is not None and not score >= chosen.min_score:
        return None
    return TrainingSample(row=row, picture=picture, prompt=text, score=score), look
