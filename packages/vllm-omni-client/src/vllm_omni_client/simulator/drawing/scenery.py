"""Draw the scenes (mountains, waves, planets or dunes) in greyscale, for a palette to colour."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw

from vllm_omni_client.simulator.drawing.raster import map_tones, resize

Point = tuple[float, float]
_GRAIN_SIDE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The image being drawn (mode L), with its random sources."""

    image: Image.Image
    composition: random.Random
    """Decides the layout; the same for any number of steps."""
    detail: random.Random
    """Decides the fine detail."""
    steps: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.image.width

    @property
    def height(self) -> int:
        """In pixels."""
        return self.image.height

    @property
    def unit(self) -> float:
        """The shorter side in pixels, to which all sizes in the image relate."""
        return min(self.width, self.height)

    @property
    def octaves(self) -> int:
        """Levels of detail in a line: 3 for one step, 8 for 32 steps or more."""
        return min(8, 3 + int(math.log2(max(1, self.steps))))

    def shade(self, shape: Image.Image, tone: float, *, top: float | None = None) -> None:
        """Fill a shape (mode L, as large as the canvas) with a tone, or with a gradient from `top` to it."""
        if top is None:
            self.image.paste(round(tone), (0, 0), shape)
        else:
            self.image.paste(vertical_gradient(self.image.size, (top, tone)), (0, 0), shape)


def draw_scene(canvas: Canvas) -> None:
    """Draw a randomly chosen scene onto the canvas."""
    scenes: Sequence[Callable[[Canvas], None]] = (_mountains, _waves, _planets, _dunes)
    scenes[canvas.composition.randrange(len(scenes))](canvas)


def add_grain(tones: Image.Image, chance: random.Random) -> Image.Image:
    """Add fine noise, which also hides banding in wide gradients."""
    noise = bytes(126 + value % 5 for value in chance.randbytes(_GRAIN_SIDE**2))
    tile = Image.frombytes("L", (_GRAIN_SIDE, _GRAIN_SIDE), noise)
    sheet = Image.new("L", tones.size)
    row = Image.new("L", (tones.width, _GRAIN_SIDE))
    for left in range(0, tones.width, _GRAIN_SIDE):
        row.paste(tile, (left, 0))
    for top in range(0, tones.height, _GRAIN_SIDE):
        sheet.paste(row, (0, top))
    return ImageChops.add(tones, sheet, scale=1, offset=-128)


def vertical_gradient(size: tuple[int, int], stops: Sequence[float]) -> Image.Image:
    """Create a vertical gradient through evenly spaced tones, from top to bottom."""
    column = Image.new("L", (1, len(stops)))
    column.frombytes(bytes(round(min(255.0, max(0.0, stop))) for stop in stops))
    smooth = resize(column, (1, 256), Image.Resampling.BICUBIC)
    tall = resize(smooth, (1, size[1]), Image.Resampling.BILINEAR)
    return resize(tall, size, Image.Resampling.NEAREST)


def _mountains(canvas: Canvas) -> None:
    chance = canvas.composition
    horizon = chance.uniform(0.42, 0.58)
    _sky(canvas, (chance.uniform(60, 95), 150, 215), stars=0.0)
    _sun(
        canvas,
        x=chance.uniform(0.2, 0.8),
        y=horizon - chance.uniform(0.08, 0.24),
        radius=chance.uniform(0.05, 0.11),
    )
    layers = 6
    for layer in range(layers):
        near = layer / (layers - 1)
        base = horizon + (0.98 - horizon) * near**1.25 - 0.02
        line = _ridge(canvas, base=base, swing=0.10 + 0.10 * near, roughness=0.5 + 0.06 * near)
        tone = 178 - 168 * near**0.8
        canvas.shade(_below(canvas, line), tone + 34 * (1 - near) + 10, top=tone)


def _dunes(canvas: Canvas) -> None:
    chance = canvas.composition
    horizon = chance.uniform(0.35, 0.5)
    _sky(canvas, (95, 160, 226), stars=0.0)
    _sun(
        canvas,
        x=chance.uniform(0.25, 0.75),
        y=horizon - chance.uniform(0.0, 0.12),
        radius=chance.uniform(0.12, 0.2),
    )
    layers = 5
    for layer in range(layers):
        near = (layer + 1) / layers
        base = horizon + (0.92 - horizon) * near - 0.1
        line = _ridge(canvas, base=base, swing=0.16, roughness=0.32)
        canvas.shade(_below(canvas, line), 28 + 60 * (1 - near), top=188 - 70 * near)


def _waves(canvas: Canvas) -> None:
    chance = canvas.composition
    horizon = chance.uniform(0.36, 0.5)
    _sky(canvas, (110, 180, 236), stars=0.0)
    _sun(
        canvas,
        x=chance.uniform(0.2, 0.8),
        y=horizon - chance.uniform(0.02, 0.16),
        radius=chance.uniform(0.07, 0.14),
    )
    layers = 5 + min(canvas.octaves, 7)
    for layer in range(layers):
        near = (layer + 1) / layers
        base = horizon + (1.0 - horizon) * near**1.35 - 0.05
        line = _swell(canvas, base=base, height=0.012 + 0.035 * near)
        canvas.shade(_below(canvas, line), 150 - 135 * near, top=214 - 110 * near)


def _planets(canvas: Canvas) -> None:
    chance = canvas.composition
    _sky(canvas, (8, chance.uniform(30, 60), chance.uniform(70, 120)), stars=1.0)
    _glow(
        canvas,
        x=chance.uniform(0.1, 0.9),
        y=chance.uniform(0.6, 1.0),
        radius=chance.uniform(0.7, 1.0),
        strength=90,
    )
    big = chance.uniform(0.26, 0.36)
    x, y = chance.uniform(0.3, 0.7), chance.uniform(0.35, 0.6)
    _planet(canvas, x=x, y=y, radius=big, brightness=236, rings=chance.randrange(5) > 1)
    for _ in range(chance.randrange(2, 5)):
        angle, away = chance.uniform(0, math.tau), big * chance.uniform(1.35, 1.9)
        small = big * chance.uniform(0.08, 0.26)
        _planet(
            canvas,
            x=x + away * math.cos(angle),
            y=y + away * math.sin(angle) * 0.8,
            radius=small,
            brightness=250,
        )


def _sky(canvas: Canvas, stops: Sequence[float], *, stars: float) -> None:
    canvas.image.paste(vertical_gradient(canvas.image.size, stops))
    pen = ImageDraw.Draw(canvas.image)
    for _ in range(round(stars * 40 * canvas.octaves)):
        x, y = canvas.detail.random() * canvas.width, canvas.detail.random() * canvas.height
        radius = canvas.unit * 0.0022 * canvas.detail.random() ** 2 + 0.4
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=canvas.detail.randrange(120, 256))


def _glow(canvas: Canvas, *, x: float, y: float, radius: float, strength: float) -> None:
    """Add light that fades with the distance from a point; position and radius are relative to the image."""
    side = max(2, round(2 * radius * canvas.unit))
    fading = [round(strength * max(0.0, 1 - tone / 181) ** 2) for tone in range(256)]
    light = map_tones(Image.radial_gradient("L"), fading)
    left, top = round(x * canvas.width - side / 2), round(y * canvas.height - side / 2)
    layer = Image.new("L", canvas.image.size)
    layer.paste(resize(light, (side, side), Image.Resampling.BILINEAR), (left, top))
    canvas.image.paste(ImageChops.add(canvas.image, layer))


def _sun(canvas: Canvas, *, x: float, y: float, radius: float) -> None:
    _glow(canvas, x=x, y=y, radius=radius * 5, strength=110)
    size = radius * canvas.unit
    middle = (x * canvas.width, y * canvas.height)
    ImageDraw.Draw(canvas.image).ellipse(_around(middle, size), fill=252)


def _planet(
    canvas: Canvas, *, x: float, y: float, radius: float, brightness: float, rings: bool = False
) -> None:
    """Draw a planet, with rings if `rings` is set."""
    middle, size = (x * canvas.width, y * canvas.height), radius * canvas.unit
    side = max(2, round(2 * size))
    shape = Image.new("L", (side, side))
    ImageDraw.Draw(shape).ellipse((0, 0, side - 1, side - 1), fill=255)
    if rings:
        _ring(canvas, middle, size, behind=True)
    corner = (round(middle[0] - size), round(middle[1] - size))
    canvas.image.paste(_add_bands(canvas, _lit_ball(side, brightness)), corner, shape)
    if rings:
        _ring(canvas, middle, size, behind=False)


def _lit_ball(side: int, brightness: float) -> Image.Image:
    """Create the surface of a ball lit from the upper left, as a square."""
    tones = [round(brightness - (brightness - 14) * min(1.0, tone / 165) ** 1.35) for tone in range(256)]
    light = resize(
        map_tones(Image.radial_gradient("L"), tones), (side * 2, side * 2), Image.Resampling.BILINEAR
    )
    corner = side * 2 // 3
    return light.crop((corner, corner, corner + side, corner + side))


def _add_bands(canvas: Canvas, ball: Image.Image) -> Image.Image:
    """Add bands of clouds to a ball; more steps give more bands."""
    bands = [canvas.composition.uniform(-14, 14) for _ in range(8)]
    bands += [canvas.detail.uniform(-9, 9) for _ in range(4 * canvas.octaves)]
    stripes = vertical_gradient(ball.size, [128 + band for band in bands])
    return ImageChops.add(ball, stripes, scale=1, offset=-128)


def _ring(canvas: Canvas, middle: Point, size: float, *, behind: bool) -> None:
    pen = ImageDraw.Draw(canvas.image)
    start, end = (180, 360) if behind else (0, 180)
    for index in range(3):
        wide = size * (1.45 + 0.16 * index)
        box = (middle[0] - wide, middle[1] - wide * 0.28, middle[0] + wide, middle[1] + wide * 0.28)
        pen.arc(box, start, end, fill=205 - 40 * index, width=max(1, round(size * 0.05)))


def _ridge(canvas: Canvas, *, base: float, swing: float, roughness: float) -> list[Point]:
    """Return a line of hills by midpoint displacement; each level swings `roughness` times the one before."""
    levels = canvas.octaves
    heights = [canvas.composition.uniform(-1, 1) for _ in range(4)]
    size = 1.0
    for level in range(levels):
        size *= roughness
        chance = canvas.composition if level < 2 else canvas.detail  # noqa: PLR2004 - the coarse shape does not depend on the steps
        middles = [(a + b) / 2 + chance.uniform(-size, size) for a, b in pairwise(heights)]
        heights = [height for pair in zip(heights, middles, strict=False) for height in pair] + [heights[-1]]
    step = canvas.width / (len(heights) - 1)
    scale = swing * canvas.height * 0.6
    return [(index * step, base * canvas.height + height * scale) for index, height in enumerate(heights)]


def _swell(canvas: Canvas, *, base: float, height: float) -> list[Point]:
    """Return the crest line of a wave: a sum of a few sines with random phases."""
    chance = canvas.composition
    sines = [(chance.uniform(1.0, 3.0) * (1 + index), chance.uniform(0, math.tau)) for index in range(3)]
    sines += [(chance.uniform(8, 20), canvas.detail.uniform(0, math.tau)) for _ in range(canvas.octaves // 3)]
    points: list[Point] = []
    for index in range(161):
        at = index / 160
        lift = sum(math.sin(at * turns * math.tau + phase) / (1 + turns * 0.6) for turns, phase in sines)
        points.append((at * canvas.width, (base + height * lift) * canvas.height))
    return points


def _below(canvas: Canvas, line: Sequence[Point]) -> Image.Image:
    """Return the area below a line that runs from the left edge to the right one."""
    shape = Image.new("L", canvas.image.size)
    corners = [(canvas.width, canvas.height), (0, canvas.height)]
    ImageDraw.Draw(shape).polygon([*line, *corners], fill=255)
    return shape


def _around(middle: Point, radius: float) -> tuple[float, float, float, float]:
    return middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius
