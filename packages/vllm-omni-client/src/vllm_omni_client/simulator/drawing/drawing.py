"""The pictures: drawn by a procedure from prompt, seed, size and steps, and marked as simulated."""

import hashlib
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from vllm_omni_client.simulator.drawing.editing import Sources, edit
from vllm_omni_client.simulator.drawing.palette import Palette, palette_for
from vllm_omni_client.simulator.drawing.raster import resize
from vllm_omni_client.simulator.drawing.scenery import Canvas, grain, scene
from vllm_omni_client.simulator.engine.model_rules import Guidance
from vllm_omni_client.simulator.http.parsed_request import Adapter

MARK = "SIMULATED"
_CANVAS_PIXELS = 4_000_000  # what is drawn; larger pictures are enlarged from it, smaller ones reduced
_SUPERSAMPLING = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Everything that a picture depends on: equal subjects give equal pixels."""

    prompt: str
    guidance: Guidance | None
    width: int
    height: int
    steps: int
    """Denoising steps; more of them bring finer detail."""
    seed: int
    place: int | None
    """Which picture of several made in one request; None for one made alone."""
    adapter: Adapter | None = None
    sources: Sources | None = None
    """The pictures that this one is made from; None where it is made from words alone."""

    def detail(self) -> random.Random:
        """The randomness of this picture: of all that it depends on but its size."""
        things: tuple[object, ...] = (self.prompt, self.guidance, self.seed, self.steps, self.place)
        if self.adapter is not None:
            things = (*things, self.adapter)
        if self.sources is not None:
            things = (*things, self.sources.digest())
        return random.Random(_digest(repr(things)))  # noqa: S311 - a picture, no secret

    def composition(self) -> random.Random:
        """The randomness of what all step counts share: more steps refine a picture, they make no other."""
        return random.Random(_digest(repr((self.prompt, self.seed, self.place))))  # noqa: S311 - likewise


def draw(subject: Subject) -> Image.Image:
    """The picture, marked: RGB, of exactly the subject's size."""
    return mark(paint(subject))


def paint(subject: Subject) -> Image.Image:
    """The picture without its mark."""
    canvas = _canvas(subject)
    scene(canvas)
    tones = resize(canvas.image, (subject.width, subject.height), Image.Resampling.BOX)
    textured = grain(tones, subject.detail())
    imagined = _palette(subject).colour(textured)
    if subject.sources is None:
        return imagined
    return edit(subject.sources, imagined, _palette(subject))


def mark(picture: Image.Image) -> Image.Image:
    """The picture with the word that says what it is, in a lower corner, as large as is legible."""
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
    """A canvas of the picture's shape, twice its size where that is cheap: reducing it smooths the edges."""
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
    """The largest type that suits the picture and leaves the word inside of it."""
    size = max(9.0, min(width, height) / 20)
    while True:
        font = ImageFont.load_default(size)
        box = font.getbbox(MARK)
        if box[2] - box[0] <= width * 0.9 or size <= 1:
            return font, box
        size = max(1.0, size * 0.9)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8])
