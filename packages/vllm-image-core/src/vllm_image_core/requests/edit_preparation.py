"""Prepare what an edit sends: draw its mask, extend its image onto a larger canvas, or enlarge it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.canvas import enlarge, extend
from vllm_image_core.imaging.size import Size, aspect_ratio, shrink_to_pixels
from vllm_image_core.models.profile import Profile
from vllm_image_core.requests import limits
from vllm_image_core.requests.edit_request import EditRequest, Inputs
from vllm_image_core.requests.input_picture import InputPicture
from vllm_image_core.requests.mask_areas import MaskAreas
from vllm_image_core.requests.note import Note
from vllm_image_core.text import brief

UPSCALE_STRENGTH: Final = 0.3
"""The strength of an upscale if none is given: enough to add detail, too little to move what is there."""

_OVERLAP: Final = 0.02
"""How far the mask of an outpaint reaches into the image, as a part of its shorter side, to hide the seam."""

_CANNOT_BE_COMBINED: Final[Mapping[str, tuple[str, ...]]] = {
    "mask": ("mask_box", "mask_polygon"),
    "outpaint": ("mask", "mask_box", "mask_polygon", "upscale", "width", "height", "aspect_ratio"),
    "upscale": ("mask", "mask_box", "mask_polygon", "width", "height", "aspect_ratio"),
}
"""Parameters that make others meaningless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is done to an edit's images before they are sent; see `EditRequest`.

    Attributes:
        areas: Where the image may change; None if that is not limited, or a mask was given.
        outpaint: The aspect ratio to extend the image to; None to leave its shape.
        upscale: How many times larger each side becomes; None to leave its size.
    """

    areas: MaskAreas | None = None
    outpaint: str | None = None
    upscale: float | None = None

    @property
    def has_mask(self) -> bool:
        """Whether a mask is drawn."""
        return self.areas is not None or self.outpaint is not None

    def values(self) -> dict[str, Any]:
        """Return the parameters that are set, by name, as requests and files have them."""
        areas = self.areas or MaskAreas()
        found = {
            "mask_box": areas.boxes or None,
            "mask_polygon": areas.polygons or None,
            "mask_feather": areas.feather or None,
            "outpaint": self.outpaint,
            "upscale": self.upscale,
        }
        return {name: value for name, value in found.items() if value is not None}

    def apply(self, inputs: Inputs, size: Size) -> Inputs:
        """Return the images as they are sent, for a result of this size; this decodes and encodes them."""
        first = inputs.images[0]
        if self.areas is not None:
            return replace(inputs, mask=self.areas.draw(first.picture.size))
        if self.upscale is not None:
            larger = InputPicture.of(enlarge(first.picture, size), name=first.name)
            return replace(inputs, images=(larger, *inputs.images[1:]))
        if self.outpaint is None:
            return inputs
        given = first.picture.size
        scale = min(size.width / given.width, size.height / given.height, 1.0)
        placed = Size(
            *(round(side * scale) for side in (first.picture.size.width, first.picture.size.height))
        )
        left, top = (size.width - placed.width) // 2, (size.height - placed.height) // 2
        extended = extend(first.picture, canvas=size, placed=placed, left=left, top=top)
        return replace(
            inputs,
            images=(InputPicture.of(extended, name=first.name), *inputs.images[1:]),
            mask=_margins(size, placed, left, top),
        )


NOTHING: Final = Preparation()
"""Images are sent as they are."""


def read_preparation(request: EditRequest) -> Preparation:
    """Check the parameters of a request that say how its images are prepared.

    Raises:
        InvalidRequest: One cannot be used, or two of them contradict each other.
    """
    for name, others in _CANNOT_BE_COMBINED.items():
        for other in others if getattr(request, name) is not None else ():
            if getattr(request, other) is not None:
                raise InvalidRequest(
                    f"{name} and {other} cannot be combined.",
                    parameter=other,
                    value=None,
                    allowed=f"{name} or {other}",
                    next_step=f"Leave one of them out. {_REASONS[name]}",
                )
    boxes, polygons, feather, upscale = (
        None if value is None else limits.check(name, value)
        for name, value in (
            ("mask_box", request.mask_box),
            ("mask_polygon", request.mask_polygon),
            ("mask_feather", request.mask_feather),
            ("upscale", request.upscale),
        )
    )
    areas = MaskAreas(boxes=boxes or (), polygons=polygons or (), feather=feather or 0.0)
    outpaint = None if request.outpaint is None else _ratio_text(request.outpaint)
    return Preparation(areas=areas if boxes or polygons else None, outpaint=outpaint, upscale=upscale)


_REASONS: Final = {
    "mask": "Boxes and polygons are drawn as a mask of their own.",
    "outpaint": "outpaint decides the size, and draws its own mask.",
    "upscale": "upscale decides the size of the complete image.",
}


def outpainted_size(first: Size, ratio: str, profile: Profile) -> Size:
    """Return the size of the canvas that an image is extended to: the smallest one that holds it.

    A canvas larger than the model's limit for masked images is reduced, together with the image.

    Raises:
        InvalidRequest: The image has this aspect ratio already.
    """
    wanted, multiple = aspect_ratio(ratio) or Fraction(1), profile.resolution_multiple
    width, height = max(first.width, first.height * wanted), max(first.height, first.width / wanted)
    if max(width - first.width, height - first.height) < multiple:
        raise InvalidRequest(
            f"outpaint: the image is {first}, which is {ratio} already.",
            parameter="outpaint",
            value=ratio,
            allowed="another aspect ratio than the image's own",
        )
    canvas = Size(*(math.ceil(side / multiple) * multiple for side in (width, height)))
    most = min(profile.max_pixels, profile.edit_rules.masked_pixels or profile.max_pixels)
    if canvas.pixels <= most:
        return canvas
    return shrink_to_pixels(canvas, multiple=multiple, max_pixels=most)


def upscaled_size(first: Size, factor: float, profile: Profile) -> tuple[Size, tuple[Note, ...]]:
    """Return the size of an upscaled image that the model can generate, and a note if it is smaller."""
    multiple = profile.resolution_multiple
    wanted = Size(*(max(multiple, round(side * factor / multiple) * multiple) for side in _sides(first)))
    size = wanted
    if size.pixels > profile.max_pixels:
        size = shrink_to_pixels(first, multiple=multiple, max_pixels=profile.max_pixels)
    if size.pixels <= first.pixels:
        raise InvalidRequest(
            f"upscale: the image is {first} already, and {profile.model} generates at most "
            f"{profile.max_resolution_mp:g} megapixels.",
            parameter="upscale",
            value=factor,
            allowed=f"an image of less than {profile.max_resolution_mp:g} megapixels",
            next_step="Give a smaller image, or leave upscale out.",
        )
    if size == wanted:
        return size, ()
    message = (
        f"upscale {factor:g} would give {wanted}; {profile.model} generates at most {size} in this shape."
    )
    return size, (Note(parameter="upscale", message=message),)


def _sides(size: Size) -> Iterator[int]:
    yield from (size.width, size.height)


def _ratio_text(value: object) -> str:
    ratio = aspect_ratio(value) if isinstance(value, str) else None
    if ratio is None or not Fraction(1, 4) <= ratio <= _WIDEST:
        raise InvalidRequest(
            f"outpaint: {brief(value)} is not an aspect ratio to extend to, such as 16:9.",
            parameter="outpaint",
            value=value,
            allowed="an aspect ratio from 1:4 to 4:1",
        )
    return f"{ratio.numerator}:{ratio.denominator}"


_WIDEST: Final = Fraction(4)


def _margins(size: Size, placed: Size, left: int, top: int) -> InputPicture:
    """Draw a mask that is white beyond the image that was placed on a canvas, and a little inside it."""
    seam = max(1, round(min(placed.width, placed.height) * _OVERLAP))
    right, bottom = left + placed.width, top + placed.height
    bands = (
        (0, 0, left + seam if left else 0, size.height),
        (right - seam if right < size.width else size.width, 0, size.width, size.height),
        (0, 0, size.width, top + seam if top else 0),
        (0, bottom - seam if bottom < size.height else size.height, size.width, size.height),
    )
    boxes = [tuple(map(float, band)) for band in bands if band[0] < band[2] and band[1] < band[3]]
    return MaskAreas(boxes=tuple(boxes)).draw(size)
