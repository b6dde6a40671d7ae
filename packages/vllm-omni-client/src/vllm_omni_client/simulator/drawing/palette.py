"""Choose an image's colours, a scale from dark to bright, by the prompt's words or its hash."""

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import ClassVar

from PIL import Image, ImageColor
from pydantic import BaseModel, ConfigDict

from vllm_omni_client.simulator.drawing.raster import map_tones

_TONES = 256


class Palette(BaseModel):
    """A scale of colours, from the darkest tone to the brightest."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    words: tuple[str, ...]
    tones: tuple[str, ...]

    def colour(self, tones: Image.Image) -> Image.Image:
        """Colour a greyscale image (mode L); the result is RGB."""
        stops = [ImageColor.getrgb(tone) for tone in self.tones]
        channels = [map_tones(tones, _scale([stop[channel] for stop in stops])) for channel in range(3)]
        return Image.merge("RGB", channels)


class _Palettes(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    palette: tuple[Palette, ...]


def palette_for(prompt: str, *, choice: int) -> Palette:
    """Return the palette of the first word in the prompt that has one, else the one `choice` selects."""
    palettes = _palettes()
    for word in re.findall(r"\w+", prompt.lower()):
        for palette in palettes:
            if word in palette.words:
                return palette
    return palettes[choice % len(palettes)]


@cache
def _palettes() -> tuple[Palette, ...]:
    text = files("vllm_omni_client.simulator").joinpath("palettes.toml").read_text(encoding="utf-8")
    return _Palettes.model_validate(tomllib.loads(text)).palette


def _scale(stops: Sequence[int]) -> list[int]:
    """Interpolate 256 values linearly from the first stop to the last."""
    last = len(stops) - 1
    positions = [tone * last / (_TONES - 1) for tone in range(_TONES)]
    lower = [min(int(position), last - 1) for position in positions]
    return [
        round(stops[index] + (stops[index + 1] - stops[index]) * (position - index))
        for position, index in zip(positions, lower, strict=True)
    ]
