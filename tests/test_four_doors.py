"""Each parameter of the SDK works through every interface: SDK, Python, tools, shell and batch files.

What a server receives is compared through a listener in front of it, a simulated server and vLLM-Omni itself.
"""

import asyncio
import base64
import inspect
import io
import json
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pytest
from click.testing import CliRunner
from mcp import Client
from mcp.types import BlobResourceContents
from PIL import Image
from vllm_image_core import InvalidRequest, Studio, Style, Styles
from vllm_image_core.batch_file.reader import rows
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.requests.fields import (
    RARE_EDIT_NAMES,
    REQUEST_FIELDS,
    field_named,
    fields_shown_in,
)
from vllm_image_mcp.cli import main as command_line
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_omni_client import AsyncOmniClient, LoraNotLoaded
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.models import ImageGenerationRequest
from vllm_omni_client.simulator import SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread

if TYPE_CHECKING:
    from conftest import Listener

Values = Mapping[str, Any]
Door = Callable[[str, Path, Values], Awaitable[None]]

EXCEPTIONS: Final[Mapping[str, str]] = {
    "model": "the studio asks each server for the model that it has",
    "n": "one image per request, so that each has its seed, its progress and its own end",
    "size": "width, height and aspect_ratio, which are checked by the model",
    "response_format": "the client chooses what saves bandwidth",
    "user": "the server does not use it",
    "true_cfg_scale": "guidance_scale, which is sent in the field that the model reads",
    "return_stage_metrics": "timings for benchmarks; it shapes no image",
    "vae_use_slicing": "the server takes it and does not use it",
    "vae_use_tiling": "the server takes it and does not use it",
}
"""Fields of the SDK without a parameter of their own elsewhere, and why."""

SDK: Final = {*ImageGenerationRequest.model_fields, *ImageEditRequest.model_fields}
BY_WIRE: Final = {each.wire: each for each in REQUEST_FIELDS if each.wire}
SMALL: Final[Values] = {"width": 64, "height": 64, "num_inference_steps": 2, "seed": 7}
GENERATION: Final[Values] = {
    "output_format": "webp",
    "output_compression": 80,
    "flow_shift": 3.0,
    "extra_params": {"cfg_interval": [0.4, 1.0]},
    "generator_device": "cpu",
    "bot_task": "think",
    "system_prompt": "Paint.",
    "use_system_prompt": "custom",
}
EDIT: Final[Values] = {
    "output_format": "webp",
    "output_compression": 80,
    "guidance_scale_2": 2.0,
    "generator_device": "cpu",
    "bot_task": "think",
    "sys_type": "en_unified",
    "system_prompt": "Paint.",
    "background": "opaque",
}


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


def test_no_parameter_of_the_sdk_is_unknown_elsewhere() -> None:
    assert SDK - BY_WIRE.keys() == EXCEPTIONS.keys()


@pytest.mark.parametrize("wire", sorted(SDK - EXCEPTIONS.keys()))
def test_each_parameter_of_the_sdk_exists_in_python_the_tools_and_the_shell(wire: str) -> None:
    field = BY_WIRE[wire]
    edits = wire in ImageEditRequest.model_fields
    method = Studio.edit if edits else Studio.generate
    assert field.name in inspect.signature(method).parameters
    tool, command = ("edit_image", "edit") if edits else ("generate_image", "generate")
    assert field in fields_shown_in(tool) or field.name in RARE_EDIT_NAMES
    assert field in fields_shown_in(command) or field.name == "prompt"
    if not field.of_edits:
        values = {field.name: 1, "prompt": "a fox"}
        [row] = rows(io.BytesIO(json.dumps(values).encode()), "jsonl")
        assert row.refusal is None


async def generate_with_sdk(url: str, folder: Path, values: Values) -> None:
    async with AsyncOmniClient(url) as client:
        await client.generate_image(
            ImageGenerationRequest(prompt="a fox", size="64x64", num_inference_steps=2, seed=7, **values)
        )


async def generate_with_studio(url: str, folder: Path, values: Values) -> None:
    async with Studio(url, output_dir=folder) as studio:
        await studio.generate("a fox", **SMALL, **values)


async def generate_with_tool(url: str, folder: Path, values: Values) -> None:
    await call(url, folder, "generate_image", values)


async def generate_with_shell(url: str, folder: Path, values: Values) -> None:
    await run(url, folder, "generate", "a fox", *options({**SMALL, **values}))


async def generate_with_batch_file(url: str, folder: Path, values: Values) -> None:
    file = folder / "foxes.jsonl"
    file.write_text(json.dumps({"prompt": "a fox", **SMALL, **values}))
    await run(url, folder, "batch", str(file))


async def edit_with_sdk(url: str, folder: Path, values: Values) -> None:
    async with AsyncOmniClient(url) as client:
        await client.edit_image(
            ImageEditRequest(prompt="a fox", size="64x64", num_inference_steps=2, seed=7, **values), png()
        )


async def edit_with_studio(url: str, folder: Path, values: Values) -> None:
    async with Studio(url, output_dir=folder) as studio:
        await studio.edit("a fox", png(), **SMALL, **values)


async def edit_with_tool(url: str, folder: Path, values: Values) -> None:
    (folder / "teal.png").write_bytes(png())
    await call(url, folder, "edit_image", values, images=["teal.png"])


async def edit_with_shell(url: str, folder: Path, values: Values) -> None:
    (folder / "teal.png").write_bytes(png())
    await run(url, folder, "edit", "a fox", str(folder / "teal.png"), *options({**SMALL, **values}))


async def call(url: str, folder: Path, tool: str, values: Values, **more: object) -> None:
    rare = {name: value for name, value in values.items() if name in RARE_EDIT_NAMES}
    shown = {name: value for name, value in values.items() if name not in rare}
    shown["extra_params"] = {**values.get("extra_params", {}), **rare}
    settings = Settings.from_arguments(vllm_url=url, output_dir=folder)
    async with Client(build_server(settings)) as client:
        result = await client.call_tool(tool, {"prompt": "a fox", **SMALL, **shown, **more})
    assert not result.is_error, " ".join(each.text for each in result.content if each.type == "text")


async def run(url: str, folder: Path, command: str, *arguments: str) -> None:
    where = ("--vllm-url", url, "--output-dir", str(folder))
    done = await asyncio.to_thread(CliRunner().invoke, command_line, [command, *where, *arguments])
    assert done.exit_code == 0, done.output


def options(values: Values) -> list[str]:
    given = ((field_named(name), value) for name, value in values.items())
    return [
        text
        for field, value in given
        for text in (
            field.option or f"--{field.name.replace('_', '-')}",
            json.dumps(value) if isinstance(value, dict) else str(value),
        )
    ]


@pytest.mark.parametrize(
    "door",
    [
        generate_with_sdk,
        generate_with_studio,
        generate_with_tool,
        generate_with_shell,
        generate_with_batch_file,
    ],
)
async def test_the_server_receives_the_values_of_a_generation(
    listener: "Listener", tmp_path: Path, door: Door
) -> None:
    await door(listener.url, tmp_path, GENERATION)
    [sent] = listener.requests
    assert {name: sent[name] for name in GENERATION} == GENERATION


@pytest.mark.parametrize("door", [edit_with_sdk, edit_with_studio, edit_with_tool, edit_with_shell])
async def test_the_server_receives_the_values_of_an_edit(
    listener: "Listener", tmp_path: Path, door: Door
) -> None:
    await door(listener.url, tmp_path, EDIT)
    [sent] = listener.requests
    assert {name: sent[name] for name in EDIT} == {name: str(value) for name, value in EDIT.items()}


@pytest.fixture
def lora_path(omni_url: str, simulator_url: str, tmp_path: Path) -> str:
    """The path of a LoRA that the server can load: a tiny one for the tiny model."""
    if omni_url == simulator_url:
        return "/loras/ink"
    folder = tmp_path / "ink"
    folder.mkdir()
    layers = {f"transformer_blocks.0.attn.{name}": 32 for name in ("to_q", "to_k", "to_v")}
    header: dict[str, Any] = {}
    weights = b""
    for layer, side in layers.items():
        for part, shape in (("lora_A", [8, side]), ("lora_B", [side, 8])):
            numbers = [(place * 37 % 17 - 8) / 4 for place in range(8 * side)]
            data = struct.pack(f"<{len(numbers)}f", *numbers)
            offsets = [len(weights), len(weights) + len(data)]
            header[f"base_model.model.transformer.{layer}.{part}.weight"] = {
                "dtype": "F32",
                "shape": shape,
                "data_offsets": offsets,
            }
            weights += data
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + weights)
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["to_q", "to_k", "to_v"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return str(folder)


async def test_a_lora_at_two_strengths_gives_two_images(
    listener: "Listener", lora_path: str, tmp_path: Path
) -> None:
    async with Studio(listener.url, output_dir=tmp_path / "out") as studio:
        plain = await studio.generate("a fox", **SMALL)
        inks = [await studio.generate("a fox", **SMALL, lora=f"{lora_path}:{scale}") for scale in (0.4, 0.8)]
        again = await studio.generate("a fox", **SMALL, fresh=True)
        recalled = await studio.recall(inks[1].path)
    sent = [request.get("lora") for request in listener.requests]
    named = {"name": "ink", "path": lora_path}
    assert sent == [None, {**named, "scale": 0.4}, {**named, "scale": 0.8}, None]
    assert recalled.request.lora == f"ink={lora_path}:0.8"
    assert again.picture.pil().tobytes() == plain.picture.pil().tobytes()
    if lora_path != "/loras/ink":
        assert len({image.picture.pil().tobytes() for image in (plain, *inks)}) == 3


STYLED: Final = "An ink drawing of a fox, white paper"
INK: Final = Style(
    name="ink",
    prefix="An ink drawing of",
    suffix=", white paper",
    settings={"flow_shift": 2.5, "num_inference_steps": 9},
)


@pytest.fixture
def styles_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one style of the user's own, which tools and shell are told by the environment."""
    folder = tmp_path / "my styles"
    Styles(folder).save(INK)
    monkeypatch.setenv("VLLM_IMAGE_STYLES_DIR", str(folder))
    return folder


async def generate_with_own_styles(url: str, folder: Path, values: Values) -> None:
    async with Studio(url, output_dir=folder, styles_dir=folder / "my styles") as studio:
        await studio.generate("a fox", **SMALL, **values)


async def edit_with_own_styles(url: str, folder: Path, values: Values) -> None:
    async with Studio(url, output_dir=folder, styles_dir=folder / "my styles") as studio:
        await studio.edit("a fox", png(), **SMALL, **values)


async def batch_with_tool(url: str, folder: Path, values: Values) -> None:
    settings = Settings.from_arguments(vllm_url=url, output_dir=folder)
    async with Client(build_server(settings)) as client:
        shared = {name: value for name, value in SMALL.items() if name != "seed"}
        result = await client.call_tool("batch_generate", {"prompts": ["a fox"], **shared, **values})
    assert not result.is_error, result.content


async def batch_of_a_frame(url: str, folder: Path, values: Values) -> None:
    frame = pl.DataFrame([{"prompt": "a fox", **SMALL, **values}])
    async with Studio(url, output_dir=folder, styles_dir=folder / "my styles") as studio:
        await studio.batch(frame).wait()


async def sweep_with_shell(url: str, folder: Path, values: Values) -> None:
    shared = options({name: value for name, value in SMALL.items() if name != "seed"})
    axes = [f"--sweep={name}={value}" for name, value in values.items()]
    await run(url, folder, "sweep", "a fox", *axes, *shared)


@pytest.mark.usefixtures("styles_folder")
@pytest.mark.parametrize(
    "door",
    [
        generate_with_own_styles,
        generate_with_tool,
        generate_with_shell,
        generate_with_batch_file,
        edit_with_own_styles,
        edit_with_tool,
        edit_with_shell,
        batch_with_tool,
        batch_of_a_frame,
        sweep_with_shell,
    ],
)
async def test_a_style_is_applied_through_every_interface(
    listener: "Listener", tmp_path: Path, door: Door
) -> None:
    await door(listener.url, tmp_path, {"style": "Ink"})
    [sent] = listener.requests
    assert sent["prompt"] == STYLED
    assert str(sent["num_inference_steps"]) == "2"
    assert sent.get("flow_shift") == (None if "edit" in door.__name__ else 2.5)


async def test_a_file_names_its_style_and_is_recalled_without_the_folder(
    listener: "Listener", tmp_path: Path, styles_folder: Path
) -> None:
    async with Studio(listener.url, output_dir=tmp_path / "out", styles_dir=styles_folder) as studio:
        image = await studio.generate("a fox", **SMALL, style="ink")
        written = json.loads(read_text(image.path.read_bytes())["vllm-image"])
        studio.styles.remove("ink")
        recalled = await studio.recall(image.path)
        again = await studio.make(recalled.request)
    assert (written["style"], written["prompt"]) == ("ink", STYLED)
    assert (str(recalled.request.style), recalled.request.prompt) == ("ink", STYLED)
    assert (again.path, again.reused) == (image.path, True)
    assert "Style ink added words to the prompt and set flow_shift." in image.notes


async def test_a_batch_is_resumed_with_the_style_it_was_given(
    listener: "Listener", tmp_path: Path, styles_folder: Path
) -> None:
    shared = {"style": "ink", "width": 64, "height": 64}
    prompts = [{"prompt": "a fox", "seed": seed, **shared} for seed in range(6)]
    async with Studio(listener.url, output_dir=tmp_path / "out", styles_dir=styles_folder) as studio:
        batch = studio.batch(prompts, max_concurrent=1)
        async for _ in batch:
            break
    first = len(listener.requests)
    Styles(styles_folder).save(replace(INK, prefix="Another drawing of"), overwrite=True)
    async with Studio(listener.url, output_dir=tmp_path / "out", styles_dir=styles_folder) as studio:
        await studio.resume(batch.id).wait()
    assert first < len(listener.requests)
    assert {request["prompt"] for request in listener.requests} == {STYLED}


@pytest.mark.parametrize(
    "door",
    [
        generate_with_studio,
        generate_with_tool,
        generate_with_shell,
        generate_with_batch_file,
        edit_with_studio,
        edit_with_tool,
        edit_with_shell,
        batch_with_tool,
    ],
)
async def test_an_image_is_saved_in_a_subfolder_and_found_there(
    omni_url: str, tmp_path: Path, door: Door
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    await door(omni_url, folder, {"filename": "hero\\left.webp"})
    path = folder / "hero" / "left.webp"
    assert path.is_file()
    async with Studio(omni_url, output_dir=folder) as studio:
        [record] = (await studio.find("left")).pictures
        recalled = await studio.recall(path)
        [batch] = await studio.batches() or [None]
        items = (await studio.find_batch(batch.id)).items if batch else ()
        request = await asyncio.to_thread(record.as_request)
        [kept] = await studio.rate([record], verdict="keep")
        [rejected] = await studio.rate(["hero/left.webp"], verdict="reject")
        assert (await studio.find("left")).pictures == ()
    assert (record.path, kept, rejected) == (path, path, folder / "rejected" / "hero" / "left.webp")
    assert [item.path for item in items] == ([path] if batch else [])
    assert recalled.request.prompt == "a fox"
    assert (request is None) == (door is edit_with_studio)  # its input image is in no folder


async def test_an_image_in_a_subfolder_is_an_input_a_resource_and_a_place_in_the_gallery(
    simulator_url: str, tmp_path: Path
) -> None:
    settings = Settings.from_arguments(vllm_url=simulator_url, output_dir=tmp_path)
    values = {"prompt": "a fox", **SMALL, "filename": "hero/left"}
    async with Client(build_server(settings)) as client:
        result = await client.call_tool("generate_image", values)
        made: dict[str, Any] = result.structured_content or {}
        assert made["uri"] == "image://hero%2Fleft.png"
        [contents] = (await client.read_resource(made["uri"])).contents
        assert isinstance(contents, BlobResourceContents)
        listed = [str(each.uri) for each in (await client.list_resources()).resources]
        for name in ("hero/left.png", "hero/left", made["uri"]):
            edit = {"prompt": "night", "images": [name], **SMALL, "seed": len(name)}
            result = await client.call_tool("edit_image", edit)
            assert not result.is_error, result.content
    assert base64.b64decode(contents.blob) == (tmp_path / "hero" / "left.png").read_bytes()
    assert made["uri"] in listed
    await run(simulator_url, tmp_path, "gallery", str(tmp_path))
    assert '"hero/left.png"' in (tmp_path / "gallery.html").read_text("utf-8")


async def test_images_are_exported_through_every_interface(simulator_url: str, tmp_path: Path) -> None:
    folder, sites = tmp_path / "out", tuple(tmp_path / door for door in ("python", "shell", "tool"))
    folder.mkdir()
    await generate_with_studio(simulator_url, folder, {"filename": "hero/left"})
    async with Studio(simulator_url, output_dir=folder) as studio:
        await studio.export(["hero/left.png"], sites[0], output_format="webp")
    await run(simulator_url, folder, "export", "hero/left.png", "--to", str(sites[1]), "--format", "webp")
    settings = Settings.from_arguments(vllm_url=simulator_url, output_dir=folder, allow_dir=[tmp_path])
    async with Client(build_server(settings)) as client:
        to = {"images": ["hero/left.png"], "export_to": str(sites[2]), "output_format": "webp"}
        assert not (await client.call_tool("rate_images", to)).is_error
    assert len({(site / "left.webp").read_bytes() for site in sites}) == 1


@pytest.mark.parametrize("door", [edit_with_studio, edit_with_tool, edit_with_shell])
async def test_a_layered_model_gives_as_many_layers_as_are_requested(tmp_path: Path, door: Door) -> None:
    with serve_in_thread(SimulatorSettings(model="Qwen/Qwen-Image-Layered")) as url:
        folder = tmp_path / "out"
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.delitem(SMALL, "width")  # type: ignore[arg-type]  # the size follows from the image
            patch.delitem(SMALL, "height")  # type: ignore[arg-type]
            await door(url, folder, {"layers": 3, "filename": "fox"})
    assert sorted(path.name for path in folder.glob("fox*")) == [
        "fox.png",
        "fox_layer2.png",
        "fox_layer3.png",
    ]


async def test_a_batch_in_subfolders_is_complete_for_another_process(
    simulator_url: str, tmp_path: Path
) -> None:
    prompts = [{"prompt": "a fox", "seed": seed, "filename": f"set/{seed}"} for seed in range(3)]
    async with Studio(simulator_url, output_dir=tmp_path / "out") as studio:
        batch = studio.batch(prompts, width=64, height=64)
        await batch.wait()
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "moved" / "set" / "1.png").unlink()
    async with Studio(simulator_url, output_dir=tmp_path / "moved") as studio:
        again = studio.resume(batch.id)
        await again.wait()
        found = await studio.find_batch(batch.id)
    names = [item.path and item.path.relative_to(tmp_path / "moved").as_posix() for item in found.items]
    assert names == ["set/0.png", "set/1.png", "set/2.png"]
    assert (tmp_path / "moved" / "set" / "1.png").is_file()


@pytest.mark.parametrize("door", [generate_with_studio, generate_with_tool, generate_with_shell])
async def test_an_unknown_style_suggests_similar_ones(simulator_url: str, tmp_path: Path, door: Door) -> None:
    told = r"There is no style 'watercolour'\. Did you mean watercolor\?"
    with pytest.raises((AssertionError, InvalidRequest), match=told):
        await door(simulator_url, tmp_path, {"style": "watercolour"})


@pytest.mark.parametrize("door", [generate_with_studio, generate_with_tool, generate_with_shell])
async def test_a_missing_lora_is_named_with_what_to_do(omni_url: str, tmp_path: Path, door: Door) -> None:
    with pytest.raises((AssertionError, LoraNotLoaded), match=r"(?s)Check the LoRA /loras/missing: .*folder"):
        await door(omni_url, tmp_path, {"lora": "/loras/missing"})
    async with Studio(omni_url, output_dir=tmp_path) as studio:  # the server continues
        assert (await studio.generate("a fox", **SMALL)).path.is_file()


async def test_a_box_is_edited_and_an_image_extended(listener: "Listener", tmp_path: Path) -> None:
    async with Studio(listener.url, output_dir=tmp_path) as studio:
        boxed = await studio.edit("a moon", png(), mask_box=[0.5, 0, 1, 1], num_inference_steps=2, seed=7)
        wide = await studio.edit("a forest", png(), outpaint="2:1", num_inference_steps=2, seed=7)
    assert (boxed.picture.size.width, boxed.picture.size.height) == (64, 64)
    assert (wide.picture.size.width, wide.picture.size.height) == (128, 64)
    assert [request["strength"] for request in listener.requests] == ["1.0", "1.0"]
