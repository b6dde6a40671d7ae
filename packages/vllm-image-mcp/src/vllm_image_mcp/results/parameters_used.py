"""Collect the parameters of images for results, under the tools' names and with long prompts cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vllm_image_core.requests.fields import RARE_NAMES, fields_shown_in, plain_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vllm_image_core.requests.generated_image import GeneratedImage
    from vllm_image_core.requests.image_request import ImageRequest
    from vllm_image_core.requests.resolver import ResolvedRequest
    from vllm_image_core.storage.record import Record

Parameters = dict[str, object]

LONGEST_PROMPT: Final = 1_000
"""Maximum characters of a prompt in a result: twenty complete prompts could exceed a host's limit."""


def shorten(text: str) -> str:
    """Text, cut if it is too long to repeat in a result."""
    return text if len(text) <= LONGEST_PROMPT else f"{text[: LONGEST_PROMPT - 1]}…"


_REPEATING: Final = tuple(
    each.name for each in fields_shown_in("generate_image") if each.indexed or each.name == "output_format"
)
"""The parameters of generate_image that the index knows of each image."""

_OWN: Final = ("prompt", "seed")
"""Those that differ from image to image, and that results therefore show apart."""


def parameters_of_image(image: GeneratedImage) -> Parameters:
    """What an image was generated with, besides its prompt and seed."""
    parameters = _parameters(image.request, without=_OWN)
    return {name: value for name, value in parameters.items() if (name, value) != ("output_format", "png")}


def parameters_of_request(request: ImageRequest) -> Parameters:
    """The parameters given in a request for an image that does not exist yet."""
    return _parameters(request, without=_OWN)


def parameters_of_record(record: Record) -> Parameters:
    """The parameters to generate an image of the folder again, as far as its file records them.

    The input images of an edit are not included.
    """
    return _parameters(record)


def common_parameters(settings: Iterable[Mapping[str, object]]) -> Parameters:
    """The parameters that all of them share."""
    first, *others = list(settings) or [Parameters()]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def differing_parameters(same: Mapping[str, object], settings: Parameters) -> Parameters:
    """The parameters that differ from the shared ones."""
    return {name: value for name, value in settings.items() if same.get(name) != value}


def _parameters(
    source: ImageRequest | ResolvedRequest | Record, *, without: Sequence[str] = ()
) -> Parameters:
    found = {name: getattr(source, name) for name in _REPEATING if name not in without}
    rare = {name: value for name, value in plain_values(source).items() if name in RARE_NAMES}
    found["extra_params"] = {**rare, **(source.extra_params or {})} or None
    return {
        name: shorten(value) if isinstance(value, str) else value
        for name, value in found.items()
        if value is not None
    }
