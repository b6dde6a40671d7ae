"""Choose the size of an edit: the requested one, or that of the first image, fitted to the model.

If no size is sent, vLLM-Omni rounds down the size of the first image, whatever the model's limit: a photo of
12 megapixels would give a result of 12 megapixels. Here the size is chosen beforehand and always sent.
"""

import math
from dataclasses import replace
from typing import Final, Literal

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.size import (
    Size,
    aspect_ratio,
    longest_other_side,
    nearest_multiple,
    shrink_to_pixels,
    shrink_to_side,
)
from vllm_image_core.models.profile import MOST_OFF_SHAPE, Profile
from vllm_image_core.requests import limits
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.note import Note
from vllm_image_core.requests.size_choice import choose_size
from vllm_image_core.text import brief

_LAYERED_MULTIPLE: Final = 32
"""Source: vLLM-Omni 0.30.0, diffusion/models/qwen_image/pipeline_qwen_image_layered.py."""


def choose_edit_size(request: ImageRequest, profile: Profile, first: Size) -> tuple[Size, tuple[Note, ...]]:
    """Return the size to request from the server, and notes on what was changed.

    Raises:
        InvalidRequest: `aspect_ratio`, `width` or `height` cannot be used; the error says what is allowed.
    """
    longest = profile.edit_rules.size_follows_up_to
    if longest is not None:
        return _input_size(request, profile, first, longest)
    if request.aspect_ratio is not None or (request.width is not None and request.height is not None):
        return choose_size(request, profile)
    if profile.size_rule == "listed":
        return _listed_size(request, profile, first)
    if request.width is not None:
        return _complete_side(request, "height", request.width, profile, first)
    if request.height is not None:
        return _complete_side(request, "width", request.height, profile, first)
    return _fit(profile, first)


def size_of_resolution(resolution: int, first: Size) -> Size:
    """Return the size of a layered model's result: about `resolution` squared pixels in the input's shape."""
    width = math.sqrt(resolution * resolution * first.aspect)
    sides = (round(side / _LAYERED_MULTIPLE) * _LAYERED_MULTIPLE for side in (width, width / first.aspect))
    return Size(*(max(_LAYERED_MULTIPLE // 2, side) for side in sides))


def _input_size(
    request: ImageRequest, profile: Profile, first: Size, longest: int
) -> tuple[Size, tuple[Note, ...]]:
    """Return the size the server derives from the first image; refuse any other, as it would be ignored."""
    multiple = profile.resolution_multiple
    shrink = min(math.sqrt(profile.max_pixels / first.pixels), longest / max(first.width, first.height), 1.0)
    sides = (int(side * shrink) // multiple * multiple for side in (first.width, first.height))
    size = Size(*(max(multiple, side) for side in sides))
    ratio = None if request.aspect_ratio is None else aspect_ratio(str(request.aspect_ratio))
    shaped = ratio is not None and abs(size.aspect / ratio - 1) <= MOST_OFF_SHAPE
    requested = {
        "aspect_ratio": None if shaped else request.aspect_ratio,
        "width": None if request.width == size.width else request.width,
        "height": None if request.height == size.height else request.height,
    }
    wrong = {parameter: value for parameter, value in requested.items() if value is not None}
    for parameter, value in wrong.items():
        names = " and ".join(wrong)
        raise InvalidRequest(
            f"{parameter} {brief(value)} is not possible: {profile.model} gives an edit the size of its "
            f"input image, here {size}.",
            parameter=parameter,
            value=value,
            allowed=f"no {names}: the size follows from the input image",
            next_step=f"Leave {names} out, or resize or crop the image first.",
        )
    return size, () if size == first else _notes(
        size, first, f"{profile.model} generates multiples of {multiple}"
    )


def _fit(profile: Profile, first: Size) -> tuple[Size, tuple[Note, ...]]:
    multiple = profile.resolution_multiple
    size = Size(*(max(multiple, side // multiple * multiple) for side in (first.width, first.height)))
    if size.pixels > profile.max_pixels:
        size = shrink_to_pixels(first, multiple=multiple, max_pixels=profile.max_pixels)
        why = f"{profile.model} generates at most {profile.max_resolution_mp:g} megapixels"
    else:
        why = f"{profile.model} generates multiples of {multiple}"
    if profile.max_side and max(size.width, size.height) > profile.max_side:
        longest = profile.max_side // multiple * multiple
        size = shrink_to_side(size, multiple=multiple, longest=longest)
        why = f"{profile.model} generates at most {longest} pixels per side"
    return size, () if size == first else _notes(size, first, why)


def _listed_size(request: ImageRequest, profile: Profile, first: Size) -> tuple[Size, tuple[Note, ...]]:
    if request.width is not None or request.height is not None:
        return choose_size(request, profile)
    sizes = dict.fromkeys((profile.default_size, *profile.supported_aspect_ratios.values()))
    size = min(sizes, key=lambda size: abs(math.log(size.aspect / first.aspect)))
    return size, () if size == first else _notes(size, first, f"{profile.model} generates only certain sizes")


def _notes(size: Size, first: Size, why: str) -> tuple[Note, ...]:
    message = f"The input image is {first}, the result will be {size}: {why}."
    return (Note(parameter="width" if size.width != first.width else "height", message=message),)


def _complete_side(
    request: ImageRequest, missing: Literal["width", "height"], given: object, profile: Profile, first: Size
) -> tuple[Size, tuple[Note, ...]]:
    """Take one side as given, and the other from the shape of the first image."""
    side = "width" if missing == "height" else "height"
    length = limits.side(side, given, multiple=profile.resolution_multiple)
    across = length / first.aspect if missing == "height" else length * first.aspect
    multiple = profile.resolution_multiple
    room = longest_other_side(length, multiple=multiple, max_pixels=profile.max_pixels)
    if profile.max_side:
        room = min(room, profile.max_side // multiple * multiple)
    other = max(multiple, min(nearest_multiple(round(across), multiple), room))
    size, _ = choose_size(replace(request, **{missing: other}), profile)
    message = f"{missing} was set to {other}, to keep the shape of the input image ({first})."
    return size, (Note(parameter=missing, message=message),)
