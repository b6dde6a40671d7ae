"""Choose the size of an image from what was requested, or refuse it and name the nearest valid size.

An aspect ratio overrides width and height, and stands for the size that the profile gives it. Width and
height are used as given: they must be multiples of `resolution_multiple`, with no more pixels than
`max_resolution_mp` and no side above `max_side`.
If only one of them is given, the other is that of the model's default size, shortened if the image would
otherwise have too many pixels, but never to less than half. If neither is given, the default size is used.
Nothing is rounded silently: a size that the model cannot generate is refused, with the nearest valid one.
Some models generate only the sizes of their aspect ratios (`size_rule` "listed") and refuse any other.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

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
from vllm_image_core.models.settings import Preset
from vllm_image_core.requests import limits
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.note import Note
from vllm_image_core.text import brief

Side = Literal["width", "height"]


def choose_size(
    request: ImageRequest, profile: Profile, preset: Preset | None = None
) -> tuple[Size, tuple[Note, ...]]:
    """Return the size to request from the server, and notes on what was changed.

    A preset's size is used only if the request does not give one.

    Raises:
        InvalidRequest: `aspect_ratio`, `width` or `height` cannot be used; the error says what is allowed.
    """
    if request.aspect_ratio is not None:
        size = _size_of_ratio(request.aspect_ratio, profile)
        return size, _override_notes(request, size)
    if request.width is None and request.height is None:
        return (preset and preset.size) or profile.default_size, ()
    if profile.size_rule == "listed":
        return _listed_size(request, profile)
    if request.height is None:
        return _complete_side("width", request.width, profile)
    if request.width is None:
        return _complete_side("height", request.height, profile)
    multiple = profile.resolution_multiple
    size = Size(
        limits.side("width", request.width, multiple=multiple),
        limits.side("height", request.height, multiple=multiple),
    )
    _check(size, profile)
    return size, ()


def _size_of_ratio(requested: object, profile: Profile) -> Size:
    supported = profile.supported_aspect_ratios
    ratio = aspect_ratio(requested) if isinstance(requested, str) else None
    found = next((size for name, size in supported.items() if ratio and aspect_ratio(name) == ratio), None)
    if found is not None:
        return found
    allowed = _list_sizes(supported)
    shaped = _size_of_shape(ratio, profile) if ratio else None
    sides = f"width={shaped.width} and height={shaped.height}" if shaped else "width and height"
    raise InvalidRequest(
        f"Aspect ratio {brief(requested)} is not supported by this model. Supported: {allowed}.",
        parameter="aspect_ratio",
        value=requested,
        allowed=allowed,
        next_step=f"Give one of the supported aspect ratios, or give {sides} instead.",
    )


def _size_of_shape(ratio: Fraction, profile: Profile) -> Size | None:
    """Return a size of this shape with about as many pixels as the default; None if there is none."""
    if profile.size_rule == "listed":
        return None
    pixels, multiple = profile.default_size.pixels, profile.resolution_multiple
    size = shrink_to_pixels(Size(ratio.numerator, ratio.denominator), multiple=multiple, max_pixels=pixels)
    if min(size.width, size.height) == 0:
        return None
    size = _sendable(size, profile)
    return size if abs(size.aspect / float(ratio) - 1) <= MOST_OFF_SHAPE else None


def _list_sizes(supported: Mapping[str, Size]) -> str:
    return ", ".join(f"{name} ({size})" for name, size in supported.items())


def _override_notes(request: ImageRequest, size: Size) -> tuple[Note, ...]:
    requested: tuple[tuple[Side, object, int], ...] = (
        ("width", request.width, size.width),
        ("height", request.height, size.height),
    )
    return tuple(
        Note(
            parameter=side,
            message=f"{side} {brief(given)} is ignored: the aspect_ratio overrides it and means {size} here.",
        )
        for side, given, used in requested
        if given is not None and given != used
    )


def _listed_size(request: ImageRequest, profile: Profile) -> tuple[Size, tuple[Note, ...]]:
    """Return the listed size that has the requested sides, or refuse them if there is none."""
    given: dict[Side, object] = {"width": request.width, "height": request.height}
    requested: dict[Side, int] = {
        side: limits.pixels(side, length) for side, length in given.items() if length is not None
    }
    sizes = dict.fromkeys((profile.default_size, *profile.supported_aspect_ratios.values()))
    nearest = min(sizes, key=lambda size: _distance(size, requested))
    if _distance(nearest, requested) == 0:
        return nearest, tuple(
            Note(
                parameter=side,
                message=f"{side} was set to {getattr(nearest, side)}: the model generates {nearest}.",
            )
            for side in given.keys() - requested
        )
    side, length = next(
        (side, requested[side]) for side in requested if getattr(nearest, side) != requested[side]
    )
    raise InvalidRequest(
        f"{' x '.join(f'{side} {length}' for side, length in requested.items())} is not a size that this "
        f"model generates: the server would change it. Nearest valid size is {nearest}.",
        parameter=side,
        value=length,
        allowed=_list_sizes(profile.supported_aspect_ratios),
        next_step=f"Give width={nearest.width} and height={nearest.height}.",
    )


def _distance(size: Size, requested: Mapping[Side, int]) -> int:
    return sum(abs(getattr(size, side) - length) for side, length in requested.items())


def _complete_side(side: Side, given: object, profile: Profile) -> tuple[Size, tuple[Note, ...]]:
    """Take one side as given, and the other from the default size."""
    multiple = profile.resolution_multiple
    length = limits.side(side, given, multiple=multiple)
    default = profile.default_size
    across = default.height if side == "width" else default.width
    other = min(across, longest_other_side(length, multiple=multiple, max_pixels=profile.max_pixels))
    if other * 2 < across:
        raise _too_long_alone(side, length, across, profile)
    if length % multiple:
        raise _no_multiples({side: length}, {side: _nearest_alone(length, across, profile)}, multiple)
    size = Size(length, other) if side == "width" else Size(other, length)
    _check_length(size, profile)
    completed: Side = "height" if side == "width" else "width"
    why = f"the model's default size is {default}" if other == across else _limit(profile)
    return size, (Note(parameter=completed, message=f"{completed} was set to {other}: {why}."),)


def _nearest_alone(length: int, across: int, profile: Profile) -> int:
    """Return the nearest multiple that leaves room for at least half of the other side's default."""
    multiple = profile.resolution_multiple
    half = -(-across // (2 * multiple)) * multiple
    room = longest_other_side(half, multiple=multiple, max_pixels=profile.max_pixels)
    return min(nearest_multiple(length, multiple), room, _longest_multiple(profile))


def _too_long_alone(side: Side, length: int, across: int, profile: Profile) -> InvalidRequest:
    other = "height" if side == "width" else "width"
    room = longest_other_side(across, multiple=profile.resolution_multiple, max_pixels=profile.max_pixels)
    most = min(room, _longest_multiple(profile))
    return InvalidRequest(
        f"{side.capitalize()} {length} alone is too large: with the model's default {other} of {across}, "
        f"the image would be far over {_limit(profile)}. The largest {side} with that {other} is {most}.",
        parameter=side,
        value=length,
        allowed=f"up to {most} with the default {other}, or both width and height",
        next_step=f"Give {side}={most}, or give both width and height, or an aspect_ratio.",
    )


def _check(size: Size, profile: Profile) -> None:
    _check_multiples(size, profile)
    if size.pixels <= profile.max_pixels:
        _check_length(size, profile)
        return
    nearest = _nearest(size, profile)
    raise InvalidRequest(
        f"{size} is {size.megapixels:.6g} megapixels, over {_limit(profile)}. "
        f"Nearest valid size of the same shape is {nearest}.",
        parameter="width" if size.width >= size.height else "height",
        value=str(size),
        allowed=f"at most {profile.max_resolution_mp:g} megapixels",
        next_step=f"Give width={nearest.width} and height={nearest.height}.",
    )


def _check_length(size: Size, profile: Profile) -> None:
    """Refuse a side that is too long for the model or for a request, even if the image has few pixels."""
    nearest = _sendable(size, profile)
    if nearest == size:
        return
    side = "width" if size.width > size.height else "height"
    most = profile.max_side or limits.LONGEST_SIDE
    who = "this model generates" if profile.max_side else "a request can ask for"
    raise InvalidRequest(
        f"{side.capitalize()} {max(size.width, size.height)} is too long: {who} at most "
        f"{most} pixels per side. Nearest valid size is {nearest}.",
        parameter=side,
        value=str(size),
        allowed=f"at most {most} pixels per side",
        next_step=f"Give width={nearest.width} and height={nearest.height}.",
    )


def _sendable(size: Size, profile: Profile) -> Size:
    """Shorten sides to what the model generates and a request can carry, in the same shape if possible."""
    longest = _longest_multiple(profile)
    if profile.max_side:
        return shrink_to_side(size, multiple=profile.resolution_multiple, longest=longest)
    return Size(min(size.width, longest), min(size.height, longest))


def _longest_multiple(profile: Profile) -> int:
    longest = min(profile.max_side or limits.LONGEST_SIDE, limits.LONGEST_SIDE)
    return longest // profile.resolution_multiple * profile.resolution_multiple


def _check_multiples(size: Size, profile: Profile) -> None:
    """Refuse all sides that are not multiples at once, each with the nearest multiple."""
    multiple = profile.resolution_multiple
    given: dict[Side, int] = {"width": size.width, "height": size.height}
    if not any(length % multiple for length in given.values()):
        return
    nearest = _nearest(size, profile)
    valid: dict[Side, int] = {"width": nearest.width, "height": nearest.height}
    valid = {side: length for side, length in valid.items() if length != given[side]}
    raise _no_multiples({side: given[side] for side in valid}, valid, multiple)


def _no_multiples(given: Mapping[Side, int], valid: Mapping[Side, int], multiple: int) -> InvalidRequest:
    """Build the error for sides that are not multiples, with the values to give instead."""
    first, length = next((side, length) for side, length in given.items() if length % multiple)
    fault = {
        side: f"not a multiple of {multiple}" if given[side] % multiple else "too long" for side in valid
    }
    return InvalidRequest(
        " ".join(
            f"{side.capitalize()} {given[side]} is {fault[side]}. Nearest valid {side} is {nearest}."
            for side, nearest in valid.items()
        ),
        parameter=first,
        value=length,
        allowed=f"multiples of {multiple}",
        next_step=f"Give {' and '.join(f'{side}={length}' for side, length in valid.items())}.",
    )


def _nearest(size: Size, profile: Profile) -> Size:
    """Return the nearest size that the model generates, keeping a side that is a multiple if possible."""
    multiple, most = profile.resolution_multiple, profile.max_pixels
    rounded = Size(nearest_multiple(size.width, multiple), nearest_multiple(size.height, multiple))
    if rounded.pixels > most:
        shortened = _shorten_wrong_side(size, rounded, profile)
        rounded = shortened or shrink_to_pixels(rounded, multiple=multiple, max_pixels=most)
    return _sendable(rounded, profile)


def _shorten_wrong_side(size: Size, rounded: Size, profile: Profile) -> Size | None:
    """Shorten only the wrong side, if at least half of it fits next to the right one."""
    multiple, most = profile.resolution_multiple, profile.max_pixels
    width = longest_other_side(rounded.height, multiple=multiple, max_pixels=most)
    height = longest_other_side(rounded.width, multiple=multiple, max_pixels=most)
    if size.height == rounded.height and size.width != rounded.width and width * 2 >= size.width:
        return Size(width, rounded.height)
    if size.width == rounded.width and size.height != rounded.height and height * 2 >= size.height:
        return Size(rounded.width, height)
    return None


def _limit(profile: Profile) -> str:
    return f"the model's limit of {profile.max_resolution_mp:g} megapixels"
