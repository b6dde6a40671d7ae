import pytest
from PIL import Image, ImageChops
from vllm_omni_client.simulator.drawing.drawing import Subject, draw, mark, paint
from vllm_omni_client.simulator.engine.model_rules import GuidanceRule


def subject(
    prompt: str = "a red fox in the snow",
    *,
    width: int = 96,
    height: int = 64,
    steps: int = 4,
    seed: int = 7,
    guidance: GuidanceRule | None = None,
    place: int | None = None,
) -> Subject:
    return Subject(
        prompt=prompt, guidance=guidance, width=width, height=height, steps=steps, seed=seed, place=place
    )


def test_the_same_subject_gives_the_same_pixels() -> None:
    assert draw(subject()).tobytes() == draw(subject()).tobytes()


@pytest.mark.parametrize(
    "other",
    [
        subject(seed=8),
        subject(seed=-7),
        subject("a red fox in the snow "),
        subject(steps=5),
        subject(place=0),
        subject(guidance=GuidanceRule(scale=2.0, negative_prompt="")),
        subject(guidance=GuidanceRule(scale=2.0, negative_prompt="blurry")),
    ],
)
def test_another_subject_gives_another_image(other: Subject) -> None:
    assert paint(other).tobytes() != paint(subject()).tobytes()


def test_a_hundred_seeds_give_a_hundred_images() -> None:
    assert len({paint(subject(seed=seed)).tobytes() for seed in range(100)}) == 100


@pytest.mark.parametrize(
    "size", [(1, 1), (16, 16), (16, 4096), (64, 64), (1024, 576), (100, 3), (2048, 2048)]
)
def test_an_image_has_the_size_that_was_requested(size: tuple[int, int]) -> None:
    picture = draw(subject(width=size[0], height=size[1]))
    assert (picture.size, picture.mode) == (size, "RGB")


@pytest.mark.parametrize("size", [(64, 64), (256, 256), (1024, 576), (576, 1024)])
def test_the_mark_is_in_the_lower_left_corner_and_leaves_the_rest_alone(size: tuple[int, int]) -> None:
    plain = paint(subject(width=size[0], height=size[1]))
    box = ImageChops.difference(plain, draw(subject(width=size[0], height=size[1]))).getbbox()
    assert box is not None
    left, top, right, bottom = box
    assert left < size[0] * 0.1
    assert bottom > size[1] * 0.9
    assert 5 * (bottom - top) > right - left > 2 * (bottom - top)
    assert top > size[1] * 0.6


def test_the_mark_is_white_letters_on_a_dark_plate_whatever_the_image() -> None:
    for tone in (0, 128, 255):
        picture = mark(Image.new("RGB", (256, 256), (tone, tone, tone)))
        corner = picture.crop((0, 220, 110, 256)).convert("L")
        darkest, brightest = corner.getextrema()
        assert brightest == 255
        assert isinstance(darkest, float | int)
        assert darkest < 128


def test_a_word_of_the_prompt_chooses_the_colours() -> None:
    def mean(prompt: str) -> tuple[int, ...]:
        pixel = paint(subject(prompt)).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # pyright: ignore[reportUnknownMemberType] - numpy's types
        assert isinstance(pixel, tuple)
        return tuple(pixel)

    red, _, blue = mean("a red rose")
    assert red > blue
    red, _, blue = mean("waves on the ocean")
    assert blue > red
