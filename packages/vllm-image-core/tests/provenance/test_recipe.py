"""How an image was made, in its own file: for us, for other tools, and for anyone who asks its origin."""

import io
import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from vllm_image_core.imaging import xmp
from vllm_image_core.imaging.picture import Picture, read_text, write_text
from vllm_image_core.models.registry import Registry
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recipe import collect_facts, write_recipe
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve

QWEN = "Qwen/Qwen-Image"
NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
FORMATS = ("png", "jpeg", "webp")


def picture(kind: str) -> Picture:
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(file, kind)
    return Picture.check(file.getvalue())


def resolved(prompt: str = "雪の中の狐, a red fox", negative_prompt: str = "blurry") -> ResolvedRequest:
    request = ImageRequest(prompt=prompt, negative_prompt=negative_prompt, width=256, height=256, seed=42)
    return resolve(request, Registry.builtin().find(QWEN, None).profile, draw_seed=lambda: 0)


def recipe_in(made: Picture) -> dict[str, object] | None:
    texts = read_text(made.bytes)
    text = texts.get("vllm-image") or xmp.read(texts.get("XML:com.adobe.xmp", "")).json
    return None if text is None else json.loads(text)


def made(kind: str, request: ResolvedRequest | None = None, metadata: Metadata | None = None) -> Picture:
    sent = request or resolved()
    facts = collect_facts(sent, model=QWEN, now=NOON, more={})
    return write_recipe(picture(kind), sent, model=QWEN, facts=facts, metadata=metadata)


@pytest.mark.parametrize("kind", FORMATS)
def test_all_parameters_are_in_the_file_in_three_forms(kind: str) -> None:
    described = made(kind)
    assert described.pil().tobytes() == picture(kind).pil().tobytes()
    assert recipe_in(described) == {
        "model": QWEN,
        "profile": QWEN,
        "prompt": "雪の中の狐, a red fox",
        "negative_prompt": "blurry",
        "width": 256,
        "height": 256,
        "num_inference_steps": 50,
        "guidance_scale": 5.0,
        "guidance_field": "true_cfg_scale",
        "seed": 42,
        "created": "2026-02-18T14:30:22+00:00",
    }
    texts = read_text(described.bytes)
    assert texts["parameters"] == (
        "雪の中の狐, a red fox\nNegative prompt: blurry\n"
        "Steps: 50, CFG scale: 5.0, Seed: 42, Size: 256x256, Model: Qwen/Qwen-Image"
    )
    assert xmp.read(texts["XML:com.adobe.xmp"]).source == "trainedAlgorithmicMedia"


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_is_written_if_everything_is_switched_off(kind: str) -> None:
    nothing = Metadata(json=False, parameters=False, xmp=False)
    assert made(kind, metadata=nothing) == picture(kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_each_form_can_be_switched_off(kind: str) -> None:
    assert recipe_in(made(kind, metadata=Metadata(json=False))) is None
    assert "parameters" not in read_text(made(kind, metadata=Metadata(parameters=False)).bytes)
    without_source = made(kind, metadata=Metadata(xmp=False))
    assert xmp.read(read_text(without_source.bytes).get("XML:com.adobe.xmp", "")).source is None
    assert recipe_in(without_source) is not None


@pytest.mark.parametrize("kind", FORMATS)
def test_only_the_prompts_can_be_withheld(kind: str) -> None:
    secret = resolved(prompt="my secret fox", negative_prompt="my secret hare")
    described = made(kind, secret, Metadata(prompts=False))
    for encoding in ("utf-8", "utf-16-be", "utf-16-le"):
        assert "secret".encode(encoding) not in described.bytes
    assert (recipe_in(described) or {})["seed"] == 42
    assert read_text(described.bytes)["parameters"].startswith("Steps: 50")


@pytest.mark.parametrize("kind", FORMATS)
def test_only_the_address_of_the_server_can_be_withheld(kind: str) -> None:
    facts = collect_facts(resolved(), model=QWEN, now=NOON, more={"server": "http://10.1.2.3:6655"})
    for told in (True, False):
        described = write_recipe(
            picture(kind), resolved(), model=QWEN, facts=facts, metadata=Metadata(server=told)
        )
        assert (b"10.1.2.3" in described.bytes) == told
        assert (recipe_in(described) or {})["seed"] == 42


@pytest.mark.parametrize("kind", FORMATS)
def test_a_simulated_image_does_not_claim_a_trained_model(kind: str) -> None:
    described = made(kind, metadata=Metadata(source="algorithmicMedia"))
    assert xmp.read(read_text(described.bytes)["XML:com.adobe.xmp"]).source == "algorithmicMedia"


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_that_states_its_own_source_keeps_it(kind: str) -> None:
    packet = xmp.packet(xmp.Properties(source="algorithmicMedia", creator="simulator <1>"))
    drawn = write_text(picture(kind), {"XML:com.adobe.xmp": packet})
    stated = xmp.read(read_text(described(drawn, Metadata()).bytes)["XML:com.adobe.xmp"])
    assert (stated.source, stated.creator) == ("algorithmicMedia", "simulator <1>")


def told_by_the_server(kind: str) -> Picture:
    """An image with texts that the server wrote, including the prompt, and an orientation."""
    image, file = Image.radial_gradient("L").convert("RGB"), io.BytesIO()
    exif = image.getexif()
    exif.update({0x010E: "my secret fox", 0x0112: 6, 0x0131: "server 1.0"})
    options: dict[str, object] = {"exif": exif, "icc_profile": b"colours", "comment": b"my secret fox"}
    if kind == "png":
        texts = PngInfo()
        texts.add_text("Description", "my secret fox", zip=True)
        texts.add_itxt("Software", "server 1.0")
        texts.add_text("parameters", "my secret fox")
        options["pnginfo"] = texts
    image.save(file, kind, **options)
    drawn = Picture.check(file.getvalue())
    packet = xmp.packet(xmp.Properties(source="algorithmicMedia", json='{"note": "my secret fox"}'))
    return write_text(drawn, {"XML:com.adobe.xmp": packet}) if kind != "jpeg" else drawn


def described(drawn: Picture, metadata: Metadata) -> Picture:
    facts = collect_facts(resolved(), model=QWEN, now=NOON, more={})
    return write_recipe(drawn, resolved(), model=QWEN, facts=facts, metadata=metadata)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("parameters", [True, False])
def test_if_prompts_are_withheld_nothing_of_what_the_server_wrote_stays(
    kind: str, *, parameters: bool
) -> None:
    drawn = told_by_the_server(kind)
    quiet = described(drawn, Metadata(prompts=False, parameters=parameters))
    with Image.open(io.BytesIO(quiet.bytes)) as image:
        shown = str(image.info) + str(dict(image.getexif()))
        assert image.info["icc_profile"] == b"colours"
        assert image.tobytes() == drawn.pil().tobytes()
        assert image.getexif().get(0x0112) == (None if kind == "png" else 6)
    assert "secret" not in shown
    assert "server 1.0" not in shown
    assert b"secret" not in quiet.bytes
    source = xmp.read(read_text(quiet.bytes)["XML:com.adobe.xmp"]).source
    assert source == ("trainedAlgorithmicMedia" if kind == "jpeg" else "algorithmicMedia")


def test_otherwise_texts_of_the_server_under_other_keywords_stay() -> None:
    texts = read_text(described(told_by_the_server("png"), Metadata()).bytes)
    assert (texts["Description"], texts["Software"]) == ("my secret fox", "server 1.0")
    assert texts["parameters"].startswith("雪の中の狐, a red fox")


def test_a_prompt_too_long_for_a_jpeg_is_omitted_and_the_rest_is_written() -> None:
    long = resolved(prompt="狐" * 20_000, negative_prompt="猫" * 20_000)
    described = made("jpeg", long)
    assert "prompt" not in (recipe_in(described) or {})
    assert read_text(described.bytes)["parameters"].startswith("Steps: 50")
    for kind in ("png", "webp"):
        assert (recipe_in(made(kind, long)) or {})["prompt"] == "狐" * 20_000


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("kind", FORMATS)
def test_exiftool_shows_the_parameters_and_the_source(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"fox.{kind}"
    file.write_bytes(made(kind).bytes)
    command = ["exiftool", "-json", "-a", "-G1", "-warning", "-error", "-validate", "-all", str(file)]
    told = subprocess.run(command, capture_output=True, check=True, timeout=60)
    shown = json.loads(told.stdout)[0]
    comment = shown["PNG:Parameters" if kind == "png" else "ExifIFD:UserComment"]
    assert comment.startswith("雪の中の狐, a red fox")
    assert comment.endswith("Model: Qwen/Qwen-Image")
    assert shown["XMP-iptcExt:DigitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert [value for name, value in shown.items() if "Error" in name] == []


@pytest.mark.parametrize("kind", FORMATS)
def test_pillow_shows_the_parameters(kind: str) -> None:
    with Image.open(io.BytesIO(made(kind).bytes)) as image:
        image.load()
        packet = image.info["xmp"]
        if kind == "png":
            assert "Steps: 50" in image.info["parameters"]
        else:
            comment = image.getexif().get_ifd(0x8769)[0x9286]
            assert "Steps: 50" in comment.removeprefix(b"UNICODE\0").decode("utf-16-be")
    assert f"{SOURCES}trainedAlgorithmicMedia" in (packet if isinstance(packet, str) else packet.decode())
