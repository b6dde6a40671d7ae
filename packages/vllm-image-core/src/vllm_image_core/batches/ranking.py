"""Rank the images of a batch by the score that a function gives each one."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable, iscoroutinefunction
from numbers import Real

from vllm_image_core import checks
from vllm_image_core.requests.generated_image import GeneratedImage

Score = Callable[[GeneratedImage], float] | Callable[[GeneratedImage], Awaitable[float]]
"""Gives an image a number; a higher one is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedImage:
    """An image with its score.

    Attributes:
        image: The image.
        score: What the function gave it.
        position: Its place in the batch, from 0.
    """

    image: GeneratedImage
    score: float
    position: int


Ranking = tuple[RankedImage, ...]
"""Images with their scores, the best first; equal ones in the order of their requests."""

Rank = Callable[[Mapping[int, GeneratedImage]], Awaitable[Ranking]]
"""Ranks the images of a finished batch, by position, and does what was asked for with the best ones."""


async def ranking(images: Mapping[int, GeneratedImage], score: Score) -> Ranking:
    """Score images one after another, and return them, the best first.

    Args:
        images: The images by position in their batch; each is read when it is scored.
        score: Called in a thread, so that it may take its time; a coroutine function runs on the event loop.

    Raises:
        InvalidRequest: A score is not a number.
    """
    ranked = [await _ranked(position, images, score) for position in sorted(images)]
    return tuple(sorted(ranked, key=lambda each: -each.score))


async def _ranked(position: int, images: Mapping[int, GeneratedImage], score: Score) -> RankedImage:
    image = await asyncio.to_thread(images.__getitem__, position)
    if iscoroutinefunction(score):
        given: object = await score(image)
    else:
        given = await asyncio.to_thread(score, image)
        if isawaitable(given):  # an object whose call is a coroutine
            given = await given
    number = float(given) if isinstance(given, Real) else math.nan
    if math.isnan(number):
        raise checks.invalid_value("score", given, f"is not a score for image {position}", "a number")
    return RankedImage(image=image, score=number, position=position)
