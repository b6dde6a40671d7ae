import io

import httpx
import pytest
from PIL import Image, ImageChops, ImageStat
from vllm_omni_client.simulator import SimulatorSettings, create_app
from vllm_omni_client.simulator.drawing.drawing import Subject, paint
from vllm_omni_client.simulator.drawing.editing import Sources
from vllm_omni_client.simulator.http.parsed_request import Adapter


def halves(left: int = 20, right: int = 230, size: tuple[int, int] = (128, 128)) -> Image.Image:
    picture = Image.new("RGB", size, (left, left, left))
    picture.paste((right, right, right), (size[0] // 2, 0, *size))
    return picture


def subject(**changed: object) -> Subject:
    values: dict[str, object] = {
        "prompt": "a red fox",
        "guidance": None,
        "width": 128,
        "height": 128,
        "steps": 4,
        "seed": 7,
        "place": None,
    }
    return Subject(**(values | changed))  # pyright: ignore[reportArgumentType] - the fields of a subject


def sources(*pictures: Image.Image, mask: Image.Image | None = None, strength: float = 1.0) -> Sources:
    return Sources(pictures=pictures or (halves(),), mask=mask, strength=strength)


def difference(one: Image.Image, two: Image.Image) -> float:
    return sum(ImageStat.Stat(ImageChops.difference(one, two)).mean) / 3


def brightness(picture: Image.Image, box: tuple[int, int, int, int]) -> float:
    return ImageStat.Stat(picture.crop(box).convert("L")).mean[0]


def test_the_shapes_of_the_input_image_can_be_seen() -> None:
    made = paint(subject(sources=sources()))
    assert brightness(made, (70, 0, 128, 128)) > brightness(made, (0, 0, 58, 128)) + 40
    turned = paint(subject(sources=sources(halves(230, 20))))
    assert brightness(turned, (0, 0, 58, 128)) > brightness(turned, (70, 0, 128, 128)) + 40


def test_the_edit_differs_from_its_input() -> None:
    assert difference(paint(subject(sources=sources())), halves()) > 5


def test_the_prompt_colours_it() -> None:
    red = paint(subject(sources=sources()))
    assert difference(red, paint(subject(sources=sources(), prompt="a blue ocean"))) > 5


def test_less_strength_changes_less() -> None:
    changes = [
        difference(paint(subject(sources=sources(strength=strength))), halves())
        for strength in (0.1, 0.5, 1.0)
    ]
    assert changes == sorted(changes)
    assert changes[0] < changes[2] / 1.5


def test_nothing_changes_outside_the_mask() -> None:
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (0, 64, 128, 128))
    made = paint(subject(sources=sources(mask=mask)))
    top, bottom = (0, 0, 128, 64), (0, 64, 128, 128)
    assert difference(made.crop(top), halves().crop(top)) == 0
    assert difference(made.crop(bottom), halves().crop(bottom)) > 5


def test_a_second_image_is_pasted_into_a_corner() -> None:
    one = paint(subject(sources=sources(halves())))
    two = paint(subject(sources=sources(halves(), Image.new("RGB", (64, 64), (255, 0, 0)))))
    assert two.getpixel((127, 0)) == (255, 0, 0)
    assert difference(one.crop((0, 64, 128, 128)), two.crop((0, 64, 128, 128))) < 40


def test_an_adapter_changes_the_image() -> None:
    plain, styled, stronger = (
        paint(subject(adapter=adapter))
        for adapter in (None, Adapter(path="/a", scale=1.0), Adapter(path="/a", scale=0.5))
    )
    assert len({picture.tobytes() for picture in (plain, styled, stronger)}) == 3


@pytest.mark.parametrize(("path", "status"), [("/loras/style", 200), ("/loras/other", 500)])
async def test_an_adapter_is_found_at_the_paths_in_the_settings(path: str, status: int) -> None:
    app = create_app(SimulatorSettings(lora_paths=("/loras/style",)))
    request = {"prompt": "a", "size": "64x64", "lora": {"name": "style", "path": path}}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
        assert (await http.post("/v1/images/generations", json=request)).status_code == status


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("Qwen/Qwen-Image-Edit-2511", 4),
        ("Qwen/Qwen-Image-Edit", 1),
        ("Qwen/Qwen-Image-2512", 1),
        ("black-forest-labs/FLUX.2-klein-4B", 4),
    ],
)
async def test_the_model_decides_how_many_images_an_edit_may_have(model: str, most: int) -> None:
    buffer = io.BytesIO()
    halves(size=(64, 64)).save(buffer, "PNG")
    form = {"prompt": "a", "num_inference_steps": "1"}
    transport = httpx.ASGITransport(create_app(SimulatorSettings(model=model)))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
        statuses = [
            (
                await http.post("/v1/images/edits", data=form, files=[("image", buffer.getvalue())] * number)
            ).status_code
            for number in (most, most + 1)
        ]
    assert statuses == [200, 400]


async def test_a_model_for_edits_generates_no_image_from_text() -> None:
    transport = httpx.ASGITransport(create_app(SimulatorSettings(model="Qwen/Qwen-Image-Edit")))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
        response = await http.post("/v1/images/generations", json={"prompt": "a", "size": "64x64"})
    assert (response.status_code, response.json()["error"]["message"]) == (
        500,
        "Image generation failed: Received no input image. This model requires one input image to run.",
    )
