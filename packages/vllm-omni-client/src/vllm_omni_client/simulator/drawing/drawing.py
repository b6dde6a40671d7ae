"""Draw an image procedurally from prompt, seed, size and steps, and mark it as simulated."""

import hashlib
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from vllm_omni_client.simulator.drawing.editing import Sources, edit
from vllm_omni_client.simulator.drawing.palette import Palette, palette_for
from vllm_omni_client.simulator.drawing.raster import resize
from vllm_omni_client.simulator.drawing.scenery import Canvas, add_grain, draw_scene
from vllm_omni_client.simulator.engine.model_rules import GuidanceRule
from vllm_omni_client.simulator.http.parsed_request import Adapter

MARK = "SIMULATED"
_CANVAS_PIXELS = 4_000_000  # pixels drawn at most; larger images are scaled up from this
_SUPERSAMPLING = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One of the layers of an image: the first one is opaque, each other one holds some of the tones."""

    number: int
    count: int

    def cut(self, picture: Image.Image) -> Image.Image:
        """Return the picture (RGBA) with everything transparent that belongs to other layers."""
        first, end = (256 * number // self.count for number in (self.number, self.number + 1))
        tones = [255 if self.number == 0 or first <= tone < end else 0 for tone in range(256)]
        picture = picture.convert("RGBA")
        picture.putalpha(picture.convert("L").point(tones))
        return picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Everything that an image depends on: equal subjects give equal pixels."""

    prompt: str
    guidance: GuidanceRule | None
    width: int
    height: int
    steps: int
    """Denoising steps; more steps give finer detail."""
    seed: int
    place: int | None
    """Position of the image within its request; None if it is the only one."""
    adapter: Adapter | None = None
    sources: Sources | None = None
    """The input images of an edit; None if there are none."""
    layer: Layer | None = None
    """Which layer of the image this is; None for an image that is not split."""

    def detail(self) -> random.Random:
        """Return the random source for detail, seeded by everything the image depends on except its size."""
        things: tuple[object, ...] = (self.prompt, self.guidance, self.seed, self.steps, self.place)
        if self.adapter is not None:
            things = (*things, self.adapter)
        if self.sources is not None:
            things = (*things, self.sources.digest())
        return random.Random(_digest(repr(things)))  # noqa: S311 - an image, not a secret

    def composition(self) -> random.Random:
        """Return the random source for the layout; it ignores the steps, so more steps only refine it."""
        return random.Random(_digest(repr((self.prompt, self.seed, self.place))))  # noqa: S311 - not a secret


def draw(subject: Subject) -> Image.Image:
    """Draw the image with its mark: RGB, or RGBA for a layer, of exactly the subject's size."""
    picture = paint(subject)
    return mark(picture if subject.layer is None else subject.layer.cut(picture))


def paint(subject: Subject) -> Image.Image:
    """Draw the image without its mark."""
    canvas = _canvas(subject)
    draw_scene(canvas)
    tones = resize(canvas.image, (subject.width, subject.height), Image.Resampling.BOX)
    textured = add_grain(tones, subject.detail())
    imagined = _palette(subject).colour(textured)
    if subject.sources is None:
        return imagined
    return edit(subject.sources, imagined, _palette(subject))


def mark(picture: Image.Image) -> Image.Image:
    """Stamp the word SIMULATED into the lower left corner, large enough to read if the image allows it."""
    font, box = _mark_font(picture.width, picture.height)
    left, top, right, bottom = box
    pad = round((bottom - top) * 0.55)
    width, height = round(right - left) + 2 * pad, round(bottom - top) + 2 * pad
    margin = min(pad, max(0, (picture.width - width) // 2), max(0, picture.height - height))
    plate = Image.new("L", (width, height), 0)
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, width - 1, height - 1), radius=height // 3, fill=150)
    corner = (margin, picture.height - height - margin)
    picture.paste((8, 10, 18), corner, plate)
    ImageDraw.Draw(picture).text(
        (corner[0] + pad - left, corner[1] + pad - top), MARK, font=font, fill=(255, 255, 255)
    )
    return picture


def _canvas(subject: Subject) -> Canvas:
    """Create a canvas of the image's shape, twice its size if that is cheap: scaling down smooths edges."""
    pixels = subject.width * subject.height
    scale = min(_SUPERSAMPLING, (_CANVAS_PIXELS / pixels) ** 0.5)
    size = (max(1, round(subject.width * scale)), max(1, round(subject.height * scale)))
    return Canvas(
        image=Image.new("L", size),
        composition=subject.composition(),
        detail=subject.detail(),
        steps=subject.steps,
    )


def _palette(subject: Subject) -> Palette:
    return palette_for(subject.prompt, choice=_digest(subject.prompt))


def _mark_font(
    width: int, height: int
) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, tuple[float, float, float, float]]:
    """Return the largest suitable font with which the mark fits, and the mark's bounding box."""
    size = max(9.0, min(width, height) / 20)
    while True:
        font = ImageFont.load_default(size)
        box = font.getbbox(MARK)
        if box[2] - box[0] <= width * 0.9 or size <= 1:
            return font, box
        size = max(1.0, size * 0.9)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8])
