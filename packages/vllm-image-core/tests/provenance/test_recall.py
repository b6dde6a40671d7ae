"""How an image was made, read back from its own file, whoever wrote it."""

import io
import json
import os
import pickle
import random
import struct
import sys
import zlib
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from vllm_image_core import Studio, recall
from vllm_image_core.errors import NotRecalled
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.models.registry import Registry
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recall import RecalledRequest
from vllm_image_core.provenance.recipe import collect_facts, write_recipe
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve

FORMATS = ("png", "jpeg", "webp")
QWEN = "Qwen/Qwen-Image"
PROFILE = Registry.builtin().find(QWEN, None).profile
NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)


def encoded(kind: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(file, kind, **options)
    return file.getvalue()


def with_png_texts(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword.replace("_", "-") if keyword == "sd_metadata" else keyword, text)
    return encoded(pnginfo=info)


def with_user_comment(kind: str, text: str) -> bytes:
    """As AUTOMATIC1111 writes it by piexif: high bytes first, after the mark UNICODE."""
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    directory = struct.pack(">H", 1) + struct.pack(">HHII", 0x9286, 7, len(comment), 44) + bytes(4)
    first = struct.pack(">H", 1) + struct.pack(">HHII", 0x8769, 4, 1, 26) + bytes(4)
    return encoded(kind, exif=b"Exif\0\0MM\0*\0\0\0\x08" + first + directory + comment)


def made(kind: str, request: ResolvedRequest, metadata: Metadata | None = None) -> bytes:
    picture = Picture.check(encoded(kind))
    return write_recipe(
        picture,
        request,
        model=QWEN,
        facts=collect_facts(request, model=QWEN, now=NOON, more={}),
        metadata=metadata,
    ).bytes


def resolved(request: ImageRequest) -> ResolvedRequest:
    return resolve(request, PROFILE, draw_seed=lambda: 4_294_967_295)


OURS = resolved(
    ImageRequest(prompt='a red fox\n狐, <b> & "c"', negative_prompt="blurry", aspect_ratio="16:9")
)


@pytest.mark.parametrize("kind", FORMATS)
def test_our_own_image_is_recalled_as_a_request_that_resolves_to_the_same(kind: str) -> None:
    recalled = recall(made(kind, OURS))
    assert recalled == RecalledRequest(
        request=OURS.as_request(),
        tool="vllm-image",
        model=QWEN,
        settings={
            "profile": QWEN,
            "guidance_field": "true_cfg_scale",
            "created": "2026-02-18T14:30:22+00:00",
        },
    )
    assert resolved(recalled.request) == replace(OURS, notes=resolved(recalled.request).notes)


@pytest.mark.parametrize("kind", FORMATS)
def test_without_our_json_the_text_for_other_tools_is_enough(kind: str) -> None:
    recalled = recall(made(kind, OURS, Metadata(json=False)))
    assert (recalled.request, recalled.model) == (OURS.as_request(), QWEN)


@pytest.mark.parametrize("kind", FORMATS)
def test_without_prompts_everything_but_the_prompts_is_recalled(kind: str) -> None:
    recalled = recall(made(kind, OURS, Metadata(prompts=False)))
    assert recalled.request == replace(OURS.as_request(), prompt="", negative_prompt=None)
    assert recalled.notes == ("The file does not contain the prompt; give one to generate the image again.",)


def test_any_field_of_a_recalled_request_can_be_changed() -> None:
    changed = replace(recall(made("png", OURS)).request, seed=7, aspect_ratio="1:1", prompt="a hare")
    again = resolved(changed)
    assert (again.seed, again.prompt, again.width) == (7, "a hare", again.height)


def test_a_recalled_request_can_be_pickled() -> None:
    recalled = recall(made("png", OURS))
    assert pickle.loads(pickle.dumps(recalled)) == recalled  # noqa: S301 - our own pickle


INFOTEXT = (
    "a red fox, 狐\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 965400086, Size: 512x768, "
    "Model hash: 6ce0161689, Model: v1-5-pruned, Version: v1.10.1"
)
BY_AUTOMATIC1111 = RecalledRequest(
    request=ImageRequest(
        prompt="a red fox, 狐",
        negative_prompt="blurry",
        width=512,
        height=768,
        num_inference_steps=20,
        guidance_scale=7.5,
        seed=965400086,
    ),
    tool="automatic1111",
    model="v1-5-pruned",
    settings={"Sampler": "Euler a", "Model hash": "6ce0161689", "Version": "v1.10.1"},
)


@pytest.mark.parametrize(
    "data",
    [
        with_png_texts(parameters=INFOTEXT),
        with_user_comment("jpeg", INFOTEXT),
        with_user_comment("webp", INFOTEXT),
    ],
    ids=FORMATS,
)
def test_an_image_of_automatic1111_is_recalled(data: bytes) -> None:
    assert recall(data) == BY_AUTOMATIC1111


COMFYUI = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 2**64 - 1,
            "steps": 20,
            "cfg": 8.0,
            "sampler_name": "euler",
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
        "is_changed": [float("nan")],
    },
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}},
}


def comfyui_webp() -> bytes:
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(COMFYUI)
    exif[0x010F] = 'workflow:{"nodes": []}'
    return encoded("webp", exif=exif)


@pytest.mark.parametrize(
    "data",
    [with_png_texts(prompt=json.dumps(COMFYUI), workflow='{"nodes": []}'), comfyui_webp()],
    ids=["png", "webp"],
)
def test_an_image_of_comfyui_is_recalled_except_for_a_seed_that_no_server_accepts(data: bytes) -> None:
    recalled = recall(data)
    assert recalled == RecalledRequest(
        request=ImageRequest(
            prompt="a red fox", width=512, height=768, num_inference_steps=20, guidance_scale=8
        ),
        tool="comfyui",
        settings={"sampler_name": "euler"},
        notes=recalled.notes,
    )
    assert recalled.notes[0].startswith(
        "The file's seed was ignored: seed: 18446744073709551615 is out of range"
    )


def test_an_image_of_comfyui_with_only_its_workflow_is_recalled() -> None:
    sampler = {
        "id": 3,
        "type": "KSampler",
        "inputs": [{"name": "positive", "link": 4}],
        "widgets_values": [42, "fixed", 20, 8, "euler", "normal", 1],
    }
    text = {"id": 6, "type": "CLIPTextEncode", "inputs": [], "widgets_values": ["a red fox"]}
    workflow = {"nodes": [text, sampler], "links": [[4, 6, 0, 3, 1, "CONDITIONING"]]}
    recalled = recall(with_png_texts(workflow=json.dumps(workflow)))
    assert (recalled.request.prompt, recalled.request.seed) == ("a red fox", 42)


def test_images_of_invokeai_are_recalled_in_all_their_forms() -> None:
    metadata = {"positive_prompt": "a fox", "seed": 42, "steps": 30, "model": {"name": "FLUX Dev"}}
    old = {"model_weights": "sd-1.5", "image": {"prompt": "a fox", "seed": 42, "steps": 30}}
    found = [
        recall(with_png_texts(invokeai_metadata=json.dumps(metadata))),
        recall(with_png_texts(sd_metadata=json.dumps(old), Dream='"other" -S 1')),
        recall(with_png_texts(Dream='"a fox" -s 30 -S 42')),
    ]
    request = ImageRequest(prompt="a fox", seed=42, num_inference_steps=30)
    assert [(one.request, one.tool, one.model) for one in found] == [
        (request, "invokeai", "FLUX Dev"),
        (request, "invokeai", "sd-1.5"),
        (request, "invokeai", None),
    ]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_damaged_text_does_not_hide_the_next() -> None:
    damaged = with_png_texts(prompt='{"3": {"class', parameters=INFOTEXT, invokeai_metadata="[" * 10_000)
    assert recall(damaged) == BY_AUTOMATIC1111


HOSTILE = {
    "deep": "[" * 100_000,
    "deep and whole": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "long": json.dumps({"prompt": "x" * 900_000, "seed": 1}),
    "control": json.dumps({"prompt": "\0\x1b[2J\u202egnp", "model": "\x1b]0;title\x07", "seed": 1}),
    "numbers": '{"prompt": "fox", "seed": '
    + "9" * 4000
    + ', "width": 1e999, "height": -1, "guidance_scale": NaN}',
    "types": '{"prompt": ["fox"], "negative_prompt": {}, "seed": true, "width": "8", "model": 7}',
    "twice": '{"prompt": "a", "prompt": "fox", "seed": 1, "seed": 2}',
    "paths": json.dumps(
        {"prompt": "/etc/passwd", "model": "../../etc/shadow", "filename": "../x", "seed": 1}
    ),
}


@pytest.mark.parametrize("text", list(HOSTILE.values()), ids=list(HOSTILE))
@pytest.mark.parametrize(
    "keyword", ["vllm-image", "parameters", "prompt", "workflow", "invokeai_metadata", "Dream"]
)
@pytest.mark.timeout(60)
def test_hostile_metadata_is_bounded_and_stays_data(keyword: str, text: str) -> None:
    content = keyword.encode() + b"\0" + text.encode("utf-8", "replace")
    whole = encoded()
    data = whole[:33] + chunk(b"tEXt", content) + whole[33:]
    try:
        recalled = recall(data)
    except NotRecalled:
        recalled = None
    if recalled is None:
        return
    assert len(recalled.request.prompt) <= 20_000
    assert not {"\0", "\x1b", "\u202e"} & set(recalled.request.prompt)
    assert recalled.request.filename is None
    shown = [recalled.model or "", *recalled.notes, *recalled.settings, *recalled.settings.values()]
    assert all(line.isprintable() and len(line) < 600 for line in shown)
    for value, most in ((recalled.request.width, 65_535), (recalled.request.seed, 2**63 - 1)):
        assert value is None or 0 < value <= most


def test_a_compressed_bomb_says_nothing() -> None:
    whole = encoded()
    bomb = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"x" * 100_000_000))
    with pytest.raises(NotRecalled):
        recall(whole[:33] + bomb + whole[33:])


@pytest.mark.parametrize("kind", FORMATS)
def test_any_damage_is_survived(kind: str) -> None:
    whole = made(kind, OURS)
    chance = random.Random(7)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(min(len(damaged), 3000))] = chance.randrange(256)
        with suppress(NotRecalled):
            assert isinstance(recall(bytes(damaged)), RecalledRequest)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_without_settings_is_an_error(kind: str) -> None:
    with pytest.raises(NotRecalled, match=r"^The image does not say how it was made\.$") as caught:
        recall(encoded(kind))
    assert "editors" in caught.value.next_step


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7", b"<html>", b"GIF89a"])
def test_anything_but_an_image_is_an_error(data: bytes) -> None:
    with pytest.raises(NotRecalled, match="The file is not an image that can be recalled"):
        recall(data)


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "fox.png"
    file.write_bytes(made("png", OURS))
    assert recall(file) == recall(str(file)) == recall(file.read_bytes())


@pytest.mark.parametrize("name", ["missing.png", ".", "zero\0byte.png", "x" * 5000])
def test_a_path_that_is_not_a_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotRecalled) as caught:
        recall(f"{tmp_path}/{name}")
    assert len(caught.value.message) < 800
    assert caught.value.message.isprintable()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no pipes in folders")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(NotRecalled, match="is not a file"):
        recall(tmp_path / "pipe.png")


async def test_a_studio_recalls_a_file(tmp_path: Path) -> None:
    file = tmp_path / "fox.png"
    file.write_bytes(made("png", OURS))
    async with Studio("http://127.0.0.1:9", output_dir=tmp_path) as studio:
        assert await studio.recall(file) == recall(file)


PIER = "a pier 桟橋\nNegative prompt: fog\nSteps: 12, Sampler: DDIM, CFG scale: 3.5, Seed: 77, Size: 640x448"
PIER_REQUEST = ImageRequest(
    prompt="a pier 桟橋",
    negative_prompt="fog",
    width=640,
    height=448,
    num_inference_steps=12,
    guidance_scale=3.5,
    seed=77,
)
DRAW_THINGS = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:exif="http://ns.adobe.com/exif/1.0/"><exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">
{"c": "a pier 桟橋", "uc": "fog", "seed": 77, "steps": 12, "scale": 3.5, "size": "640x448", "sampler": "DDIM"}
</rdf:li></rdf:Alt></exif:UserComment></rdf:Description></rdf:RDF></x:xmpmeta>"""


def with_entry(tag: int, kind: int, value: bytes) -> bytes:
    """A JPEG whose EXIF has one entry in its first directory."""
    entry = struct.pack("<HHHII", 1, tag, kind, len(value), 26) + bytes(4)
    return encoded("jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0" + entry + value)


def with_comment(text: str) -> bytes:
    return encoded("jpeg", comment=text.encode())


@pytest.mark.parametrize(
    "data",
    [
        with_entry(0x9286, 7, b"Unicode\0" + PIER.encode("utf-16-le")),
        with_entry(0x9286, 129, PIER.encode()),
        with_entry(0x010E, 2, PIER.encode() + b"\0"),
        with_entry(0x9C9C, 1, PIER.encode("utf-16-le") + b"\0\0"),
        with_entry(0x9C9B, 1, PIER.encode("utf-16-le")),
        with_entry(0x0110, 2, json.dumps({"sui_image_params": {"prompt": "x"}}).encode()),
        with_comment(PIER),
        with_png_texts(Comment=PIER),
        with_png_texts(UserComment=PIER),
    ],
)
def test_settings_are_found_wherever_a_program_put_them(data: bytes) -> None:
    recalled = recall(data)
    if recalled.tool == "swarmui":
        assert recalled.request.prompt == "x"
    else:
        assert recalled.request == PIER_REQUEST


def test_draw_things_is_read_from_xmp() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", DRAW_THINGS)
    for data in (encoded(pnginfo=info), encoded("webp", xmp=DRAW_THINGS.encode())):
        assert (recall(data).tool, recall(data).request) == ("draw-things", PIER_REQUEST)


def test_the_first_files_of_novelai_are_recalled() -> None:
    first = {
        "steps": 12,
        "sampler": "plms",
        "seed": 77,
        "strength": 0.7,
        "noise": 0.2,
        "scale": 3.5,
        "uc": "fog",
    }
    texts = {"Title": "AI generated image", "Description": "{a pier}", "Software": "NovelAI"}
    recalled = recall(with_png_texts(**texts, Comment=json.dumps(first)))
    assert (recalled.tool, recalled.request.prompt, recalled.request.seed) == ("novelai", "{a pier}", 77)
    damaged = recall(with_png_texts(**texts, Comment='{"steps": 1'))
    assert damaged.request == ImageRequest(prompt="{a pier}")
    assert damaged.notes == ("The file's settings could not be read: its text 'Comment' is not JSON.",)


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '{\n "a": 1\n}', '[{"a": 1}, {"b": 2}]', '{"prompt": "a pi', "[" * 9000]
)
def test_unknown_json_is_reported_and_never_a_prompt(text: str) -> None:
    for data in (with_png_texts(parameters=text), with_user_comment("jpeg", text)):
        with pytest.raises(NotRecalled) as caught:
            recall(data)
        assert caught.value.message == (
            "The image does not say how it was made: its text 'parameters' is damaged or unknown JSON."
        )


def test_a_comment_in_an_unknown_encoding_is_reported() -> None:
    with pytest.raises(NotRecalled, match="'parameters' is in an unknown encoding"):
        recall(with_entry(0x9286, 7, bytes(8) + random.Random(5).randbytes(300)))


@pytest.mark.parametrize("caption", ["Created with GIMP", "a pier at dusk"])
def test_a_caption_is_not_taken_for_a_prompt(caption: str) -> None:
    for data in (
        with_comment(caption),
        with_entry(0x010E, 2, caption.encode()),
        with_png_texts(Description=caption),
    ):
        with pytest.raises(NotRecalled):
            recall(data)


def test_uncertain_settings_are_reported() -> None:
    assert recall(with_png_texts(parameters="a pier")).notes == (
        "The file's text has no settings; all of it was read as prompts.",
    )
    below = recall(with_png_texts(parameters=f"{PIER}, Note: first\nsecond half, Version: v1"))
    assert below.request == PIER_REQUEST
    assert below.notes == ("The text below the file's settings was not read: 'second half, Version: v1'.",)


def test_our_own_prompt_none_stays_a_prompt() -> None:
    ours = resolved(ImageRequest(prompt="None", seed=3))
    assert recall(made("png", ours)).request.prompt == "None"


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(NotRecalled, match=r"recalled: it is empty\.$"):
        recall(b"")
