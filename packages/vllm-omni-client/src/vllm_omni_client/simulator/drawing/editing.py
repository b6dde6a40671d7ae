"""A picture made from others: the first recoloured, the further ones laid into a corner."""

import hashlib
from dataclasses import dataclass

from PIL import Image, ImageOps

from vllm_omni_client.simulator.drawing.palette import Palette
from vllm_omni_client.simulator.drawing.raster import resize

_INSET = 5  # a further picture takes this part of the shorter side
_LEAST_CHANGE = 0.25  # of an edit at the least strength: it is to be seen that something was done


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sources:
    """The pictures that an edit starts from."""

    pictures: tuple[Image.Image, ...]
    mask: Image.Image | None
    """White where the picture may change."""
    strength: float
    """From 0, hardly changed, to 1."""

    def digest(self) -> str:
        """A name for what they show.

        Raises:
            OSError: A file ends too early.
        """
        pictures = (*self.pictures, *((self.mask,) if self.mask else ()))
        hashes = [hashlib.sha256(picture.convert("RGBA").tobytes()).hexdigest() for picture in pictures]
        return f"{self.strength} {' '.join(hashes)}"


def edit(sources: Sources, imagined: Image.Image, palette: Palette) -> Image.Image:
    """The first picture in the colours of the prompt, with a breath of the imagined scene; RGB."""
    size = imagined.size
    original = fit(sources.pictures[0], size)
    recoloured = palette.colour(ImageOps.autocontrast(original.convert("L")))
    change = _LEAST_CHANGE + (0.75 - _LEAST_CHANGE) * sources.strength
    changed = Image.blend(original, Image.blend(recoloured, imagined, 0.35), change)
    for place, picture in enumerate(sources.pictures[1:]):
        _lay_in(changed, picture, place)
    if sources.mask is None:
        return changed
    mask = resize(sources.mask.convert("L"), size, Image.Resampling.NEAREST)
    return Image.composite(changed, original, mask)


def fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture (RGB) in this size, its middle cut out where the shape is another."""
    return ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.BICUBIC)


def _lay_in(picture: Image.Image, further: Image.Image, place: int) -> None:
    side = max(1, min(picture.size) // _INSET)
    picture.paste(fit(further, (side, side)), (picture.width - side * (place + 1), 0))
