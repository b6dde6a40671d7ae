"""Expand prompts into the requests of a batch, by one grammar for tools, commands, files and Python.

A prompt is text, a request, or an object with a request's fields. Each becomes one image, `count` images, or
one for each combination of the swept values; wildcards and swept words change the prompt itself.
"""

import itertools
import math
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Any, Final, cast

from vllm_image_core.checks import check_integer, invalid_value
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.fields import RANDOM_SEED
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.style_folder import Styles
from vllm_image_core.requests.sweep import (
    ALIASES,
    MOST_IMAGES,
    SIZE,
    Change,
    given_twice,
    prompt_text,
    read_size,
    refusal,
    sweep_changes,
    too_many,
)
from vllm_image_core.requests.wildcards import Wildcards
from vllm_image_core.text import brief

PromptSource = str | Mapping[str, object] | ImageRequest
"""A prompt: text, a request, or an object with a request's fields, `size` and `count`, `sweep` and so on."""

Prompts = PromptSource | Iterable[PromptSource] | AsyncIterable[PromptSource]
"""The prompts of a batch: one, a list, or an iterator of any length."""

_OWN: Final = ("count", "sweep", "zip", "wildcards")
_FIELDS: Final = tuple(each.name for each in fields(ImageRequest) if each.name != "seed_drawn")

PROMPT_FIELDS: Final = (*_FIELDS, SIZE, *_OWN)
"""The fields that a prompt may have as an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variations:
    """How a batch varies each of its prompts.

    Attributes:
        count: Images for each prompt, or for each combination of swept values, with seeds of their own.
        sweep: Lists of values. A key is a field of the request, `size` ("512x768"), or words of the prompt,
            which each value replaces.
        zip: Whether the swept lists are paired, first with first and so on, instead of combined.
        wildcards: Whether {red|blue} and __colour__ stand for one of their options: for each of them in
            turn, or with a count for a random one.
    """

    count: int | None = None
    sweep: Mapping[str, Sequence[object]] | None = None
    zip: bool = False
    wildcards: bool = False


_ONE: Final = Variations()
_NO_FOLDER: Final = Styles()


class Expansion:
    """Expands the prompts of one batch.

    Args:
        variations: How each prompt is varied, unless it says so itself.
        shared: The settings that prompts do not have themselves; its prompt is not used.
        wildcards: Expands wildcards, if prompts have them.
        styles: Finds the styles that prompts name.
        draw_seed: Draws a seed, 0 to 4294967295. Prompts share the seeds of their variations, so that they
            differ only in what is varied.
    """

    def __init__(
        self,
        variations: Variations = _ONE,
        *,
        shared: ImageRequest,
        wildcards: Wildcards,
        draw_seed: Callable[[], int],
        styles: Styles = _NO_FOLDER,
    ) -> None:
        self._variations = variations
        self._filename = shared.filename
        found = {name: getattr(shared, name) for name in _FIELDS if name != "prompt"}
        self._settings = {name: value for name, value in found.items() if value is not None}
        self._wildcards = wildcards
        self._styles = styles
        self._draw_seed = draw_seed
        self._drawn: list[int] = []
        self._numbers = itertools.count(1)

    def requests(
        self, prompts: Prompts, *, seeds: Sequence[int] | None = None
    ) -> Iterable[ImageRequest] | AsyncIterable[ImageRequest]:
        """Expand the prompts of a list at once, and those of an iterator as they come.

        Raises:
            InvalidRequest: As `expand`; for an iterator when it is read.
        """
        if isinstance(prompts, AsyncIterable):
            return self._expand_async(prompts)
        if isinstance(prompts, (str, Mapping, ImageRequest)):
            return self.expand([cast("PromptSource", prompts)], seeds=seeds)
        if isinstance(prompts, bytes) or not isinstance(prompts, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - unchecked
            return cast("Iterable[ImageRequest]", prompts)  # the batch refuses it
        if isinstance(prompts, Sequence):
            return self.expand(prompts, seeds=seeds)
        return self._expand_each(prompts)

    def _expand_each(self, prompts: Iterable[PromptSource]) -> Iterator[ImageRequest]:
        for place, prompt in enumerate(prompts):
            with _noting(place):
                requests = self.of_prompt(prompt)
            yield from requests

    async def _expand_async(self, prompts: AsyncIterable[PromptSource]) -> AsyncIterator[ImageRequest]:
        place = 0
        async for prompt in prompts:
            with _noting(place):
                requests = self.of_prompt(prompt)
            for each in requests:
                yield each
            place += 1

    def expand(
        self, prompts: Sequence[PromptSource], *, seeds: Sequence[int] | None = None, most: float = math.inf
    ) -> list[ImageRequest]:
        """Return the requests of a batch, in order: prompt by prompt, row by row.

        Args:
            prompts: At least one.
            seeds: One for each prompt; None if prompts have their own, or random ones.
            most: How many images there may be; each prompt may have `MOST_IMAGES`.

        Raises:
            InvalidRequest: A value cannot be used, or there are more images than allowed.
        """
        if seeds is not None and len(seeds) != len(prompts):
            raise refusal(
                f"seeds has {len(seeds)} entries for {len(prompts)} prompts.",
                "seeds",
                len(seeds),
                "one seed for each prompt, or no seeds at all",
                next_step='To try each prompt with several seeds, use sweep={"seed": [1, 2, 3]}.',
            )
        found: list[ImageRequest] = []
        for place, prompt in enumerate(prompts):
            with _noting(place) if len(prompts) > 1 else nullcontext():
                found += self._of_prompt(prompt, seed=None if seeds is None else seeds[place])
        if len(found) > most:
            raise too_many(f"The prompts ask for {len(found)} images in all", len(found))
        return _numbered(found, self._filename)

    def of_prompt(self, prompt: PromptSource) -> list[ImageRequest]:
        """Return the requests of one prompt of many, which may still follow; raises what `expand` raises."""
        return [
            replace(each, filename=_with_number(self._filename, str(next(self._numbers))))
            if self._filename is not None and each.filename == self._filename
            else each
            for each in self._of_prompt(prompt)
        ]

    def _of_prompt(self, prompt: PromptSource, *, seed: int | None = None) -> list[ImageRequest]:
        return [self._styles.named(each) for each in self._unstyled(prompt, seed=seed)]

    def _unstyled(self, prompt: PromptSource, *, seed: int | None) -> list[ImageRequest]:
        if (
            isinstance(prompt, ImageRequest)
            and self._variations == _ONE
            and not self._settings
            and seed is None
        ):
            return [prompt]
        request, variations = self._request(prompt)
        if seed is not None:
            if request.seed is not None:
                raise given_twice("seed", "seeds")
            request = replace(request, seed=None if seed == RANDOM_SEED else seed)
        named_itself = request.filename is not None and request.filename != self._filename
        requests = self._vary(request, variations, seeds_given=seed is not None)
        return _numbered(requests, request.filename) if named_itself else requests

    def _request(self, prompt: PromptSource) -> tuple[ImageRequest, Variations]:
        if isinstance(prompt, ImageRequest):
            missing = {name: value for name, value in self._settings.items() if _lacks(prompt, name)}
            return replace(prompt, **missing), self._variations
        values: dict[str, object] = {"prompt": prompt} if isinstance(prompt, str) else _named(prompt)
        own = {name: values.pop(name) for name in _OWN if name in values}
        sized = bool(values.keys() & {"width", "height", "aspect_ratio"})
        shared = {
            name: value
            for name, value in self._settings.items()
            if not (sized and name in {"width", "height", "aspect_ratio"})
        }
        request = ImageRequest(**cast("Any", {**shared, **values}))
        return request, replace(self._variations, **cast("Any", own))

    def _vary(
        self, request: ImageRequest, variations: Variations, *, seeds_given: bool
    ) -> list[ImageRequest]:
        for name in ("zip", "wildcards"):
            if not isinstance(value := getattr(variations, name), bool):
                raise invalid_value(name, value, "is neither true nor false", "true or false")
        changes = (
            [Change()]
            if variations.sweep is None
            else sweep_changes(variations.sweep, request, pairs=variations.zip, seeds_given=seeds_given)
        )
        count = variations.count
        if count is not None:
            check_integer("count", count, 1, MOST_IMAGES, allowed=f"an integer from 1 to {MOST_IMAGES}")
            if any("seed" in each.fields for each in changes):
                raise refusal(
                    "count and a sweep of seed are both given.", "count", count, "only one of the two"
                )
        total = len(changes) * (count or 1)
        if total > MOST_IMAGES:
            raise too_many(f"One prompt asks for {total} images", total)
        seeded = self._seeded(request, count, swept=variations.sweep is not None)
        if not variations.wildcards:
            return [change.apply(each) for each in seeded for change in changes]
        if count is not None:
            picked = [
                replace(each, prompt=self._wildcards.pick(each.prompt, seed=each.seed or 0))
                for each in seeded
            ]
            return [change.apply(each) for each in picked for change in changes]
        prompts = self._wildcards.every(prompt_text(request.prompt), most=MOST_IMAGES // total)
        return [
            change.apply(replace(each, prompt=prompt))
            for prompt in prompts
            for each in seeded
            for change in changes
        ]

    def _seeded(self, request: ImageRequest, count: int | None, *, swept: bool) -> list[ImageRequest]:
        """Return the request with the seed of each variation; those that are drawn are the same in all."""
        if request.seed == RANDOM_SEED:
            request = replace(request, seed=None)
        if count is None and not swept:
            return [request]
        given = request.seed
        if given is None:
            while len(self._drawn) < (count or 1):
                self._drawn.append(self._draw_seed())
            return [replace(request, seed=seed, seed_drawn=True) for seed in self._drawn[: count or 1]]
        if count in (None, 1) or isinstance(given, bool) or not isinstance(given, int):  # pyright: ignore[reportUnnecessaryIsInstance] - unchecked
            return [request] * (count or 1)
        return [replace(request, seed=given + number) for number in range(count or 1)]


@contextmanager
def _noting(place: int) -> Generator[None]:
    """Add to a refusal which prompt it is about."""
    try:
        yield
    except InvalidRequest as error:
        error.add_note(f"This is prompt {place} of the list, counted from 0.")
        raise


def _named(prompt: object) -> dict[str, object]:
    """Return the fields of a prompt given as an object, under their own names."""
    if not isinstance(prompt, Mapping):
        raise refusal(
            f"A prompt is {brief(prompt)}, which is neither text nor an object.",
            "prompts",
            prompt,
            'text, or an object such as {"prompt": "a red fox", "width": 512}',
        )
    values: dict[str, object] = {}
    for key, value in cast("Mapping[object, object]", prompt).items():
        name = ALIASES.get(str(key), str(key))
        if name not in PROMPT_FIELDS:
            raise refusal(
                f"A prompt has no field {brief(key)}.", "prompts", key, f"one of {', '.join(PROMPT_FIELDS)}"
            )
        if name in values:
            raise refusal(f"A prompt sets {name} twice, under two names.", "prompts", key, "each field once")
        if value is not None:
            values[name] = value
    if "prompt" not in values:
        raise refusal("A prompt given as an object has no prompt.", "prompts", None, "a prompt in each")
    if SIZE in values:
        if values.keys() & {"width", "height", "aspect_ratio"}:
            raise refusal(
                "A prompt sets size and width, height or aspect_ratio.",
                "size",
                None,
                "only one of the two",
            )
        values |= read_size(values.pop(SIZE))
    return values


def _numbered(requests: list[ImageRequest], filename: str | None) -> list[ImageRequest]:
    """Give each of several requests with one filename a number: hero_1.webp, hero_2.webp and so on."""
    if filename is None:
        return requests
    shared = [each for each in requests if each.filename == filename]
    if len(shared) < 2 and not str(filename).endswith("/"):  # noqa: PLR2004 - several
        return requests
    digits, numbers = len(str(len(shared))), itertools.count(1)
    return [
        replace(each, filename=_with_number(filename, f"{next(numbers):0{digits}}"))
        if each.filename == filename
        else each
        for each in requests
    ]


def _with_number(filename: str, number: str) -> str:
    if not filename or filename.endswith("/"):
        return f"{filename}{number}"
    path = PurePosixPath(filename)
    return str(path.with_name(f"{path.stem}_{number}{path.suffix}"))


def _lacks(request: ImageRequest, name: str) -> bool:
    if name in {"width", "height", "aspect_ratio"}:
        return request.width is None and request.height is None and request.aspect_ratio is None
    return getattr(request, name) is None
