"""Draw an edit: recolour the first input image and paste the others into a corner."""

import hashlib
from dataclasses import dataclass

from PIL import Image, ImageOps

from vllm_omni_client.simulator.drawing.palette import Palette
from vllm_omni_client.simulator.drawing.raster import resize

_INSET = 5  # a further image is this fraction of the shorter side
_MIN_CHANGE = 0.25  # at strength 0, so that the edit is visible


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sources:
    """The input images of an edit, with mask and strength."""

    pictures: tuple[Image.Image, ...]
    mask: Image.Image | None
    """White where the image may change."""
    strength: float
    """From 0 (hardly changed) to 1."""

    def digest(self) -> str:
        """Return a hash of the images' content and the strength.

        Raises:
            OSError: A file is truncated.
        """
        pictures = (*self.pictures, *((self.mask,) if self.mask else ()))
        hashes = [hashlib.sha256(picture.convert("RGBA").tobytes()).hexdigest() for picture in pictures]
        return f"{self.strength} {' '.join(hashes)}"


def edit(sources: Sources, imagined: Image.Image, palette: Palette) -> Image.Image:
    """Recolour the first image with the prompt's palette and blend in some of the imagined scene; RGB."""
    size = imagined.size
    original = fit(sources.pictures[0], size)
    recoloured = palette.colour(ImageOps.autocontrast(original.convert("L")))
    change = _MIN_CHANGE + (0.75 - _MIN_CHANGE) * sources.strength
    changed = Image.blend(original, Image.blend(recoloured, imagined, 0.35), change)
    for place, picture in enumerate(sources.pictures[1:]):
        _paste_inset(changed, picture, place)
    if sources.mask is None:
        return changed
    mask = resize(sources.mask.convert("L"), size, Image.Resampling.NEAREST)
    return Image.composite(changed, original, mask)


def fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize the image (RGB) to this size, cropped around its centre if the shape differs."""
    return ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.BICUBIC)


def _paste_inset(picture: Image.Image, further: Image.Image, place: int) -> None:
    side = max(1, min(picture.size) // _INSET)
    picture.paste(fit(further, (side, side)), (picture.width - side * (place + 1), 0))
