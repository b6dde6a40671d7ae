"""What the server receives is what the answer reports: each parameter of each kind of model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from PIL import Image

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

KLEIN = "black-forest-labs/FLUX.2-klein-4B"
QWEN = "Qwen/Qwen-Image"
TURBO = "Tongyi-MAI/Z-Image-Turbo"
UNKNOWN = "acme/painter"

ALWAYS = {"n": 1, "response_format": "b64_json", "output_format": "png", "output_compression": 90}


async def made(client: Client, **arguments: object) -> dict[str, Any]:
    result = await client.call_tool("generate_image", {"prompt": "a red fox", **arguments})
    assert not result.is_error, result.content
    assert result.structured_content
    return result.structured_content


def pixels(picture: dict[str, Any]) -> bytes:
    with Image.open(picture["file_path"]) as image:
        return image.tobytes()


@pytest.mark.parametrize(
    ("model", "arguments", "sent", "reported"),
    [
        pytest.param(
            KLEIN,
            {},
            {"size": "1024x1024", "num_inference_steps": 4, "guidance_scale": 1.0},
            {"width": 1024, "height": 1024, "steps": 4, "guidance_scale": 1.0, "negative_prompt": None},
            id="klein's own settings",
        ),
        pytest.param(
            KLEIN,
            {"width": 128, "height": 64, "num_inference_steps": 2, "guidance_scale": 0.5},
            {"size": "128x64", "num_inference_steps": 2, "guidance_scale": 0.5},
            {"width": 128, "height": 64, "steps": 2, "guidance_scale": 0.5, "negative_prompt": None},
            id="the caller's settings",
        ),
        pytest.param(
            KLEIN,
            {"aspect_ratio": "16:9"},
            {"size": "1024x576", "num_inference_steps": 4, "guidance_scale": 1.0},
            {"width": 1024, "height": 576, "steps": 4, "guidance_scale": 1.0, "negative_prompt": None},
            id="an aspect ratio",
        ),
        pytest.param(
            QWEN,
            {"width": 64, "height": 64, "negative_prompt": "blurry"},
            {
                "size": "64x64",
                "num_inference_steps": 50,
                "true_cfg_scale": 5.0,
                "negative_prompt": "blurry",
            },
            {"width": 64, "height": 64, "steps": 50, "guidance_scale": 5.0, "negative_prompt": "blurry"},
            id="Qwen reads true_cfg_scale, beside a negative prompt",
        ),
        pytest.param(
            QWEN,
            {"width": 64, "height": 64, "guidance_scale": 7.0},
            {"size": "64x64", "num_inference_steps": 50, "true_cfg_scale": 7.0, "negative_prompt": " "},
            {"width": 64, "height": 64, "steps": 50, "guidance_scale": 7.0, "negative_prompt": " "},
            id="a blank one where none was given",
        ),
        pytest.param(
            TURBO,
            {"width": 64, "height": 64},
            {"size": "64x64", "num_inference_steps": 9, "guidance_scale": 0.0},
            {"width": 64, "height": 64, "steps": 9, "guidance_scale": 0.0, "negative_prompt": None},
            id="Z-Image-Turbo is sent its zero",
        ),
        pytest.param(
            UNKNOWN,
            {"width": 64, "height": 64},
            {"size": "64x64", "num_inference_steps": 28, "guidance_scale": 5.0},
            {"width": 64, "height": 64, "steps": 28, "guidance_scale": 5.0, "negative_prompt": None},
            id="the fallback",
        ),
    ],
)
async def test_every_parameter_that_is_reported_was_sent(
    *,
    connect: Connect,
    omni: "OmniServer",
    model: str,
    arguments: dict[str, object],
    sent: dict[str, object],
    reported: dict[str, object],
) -> None:
    omni.runs(model)
    async with connect() as client:
        picture = await made(client, seed=42, **arguments)
    assert omni.requests == [{"prompt": "a red fox", "model": model, "seed": 42, **ALWAYS, **sent}]
    assert picture["parameters_used"] == {"model": model, "prompt": "a red fox", "seed": 42, **reported}


async def test_the_seed_that_was_drawn_is_sent_and_reported(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        seeds = [(await made(client, width=64, height=64))["parameters_used"]["seed"] for _ in range(2)]
    assert [request["seed"] for request in omni.requests] == seeds
    assert seeds[0] != seeds[1]


async def test_the_same_request_and_seed_give_the_same_pixels(connect: Connect) -> None:
    async with connect() as client:
        first = await made(client, seed=42, width=64, height=64)
        drawn = pixels(first)
        Path(first["file_path"]).unlink()
        again = await made(client, seed=42, width=64, height=64)
        other = await made(client, seed=43, width=64, height=64)
    assert drawn == pixels(again) != pixels(other)
    assert not again["reused"]


async def test_an_existing_image_is_returned_and_not_requested_again(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        first = await made(client, seed=42, width=64, height=64)
        again = await made(client, seed=42, width=64, height=64)
    assert (first["reused"], again["reused"]) == (False, True)
    assert (again["file_path"], again["parameters_used"]) == (first["file_path"], first["parameters_used"])
    assert again["notes"][0].endswith("and taken from the folder. Use another seed for another image.")
    assert len(omni.requests) == 1


async def test_parameters_used_make_the_same_image_again(connect: Connect) -> None:
    async with connect() as client:
        first = await made(client, aspect_ratio="1:1", num_inference_steps=2)
        used = dict(first["parameters_used"])
        del used["model"]
        used["num_inference_steps"] = used.pop("steps")
        again = await made(client, **used)
    assert pixels(first) == pixels(again)


async def test_a_negative_prompt_is_dropped_for_a_distilled_model_and_that_is_reported(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        picture = await made(client, negative_prompt="blurry", width=64, height=64)
    assert "negative_prompt" not in omni.requests[0]
    assert picture["parameters_used"]["negative_prompt"] is None
    assert picture["notes"] == [f"{KLEIN} does not support negative prompts; negative_prompt was dropped."]


async def test_an_aspect_ratio_overrides_width_and_height_and_that_is_reported(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        picture = await made(client, aspect_ratio="4:3", width=64, height=64)
    assert omni.requests[0]["size"] == "1024x768"
    assert [note.split(":")[0] for note in picture["notes"]] == [
        "width 64 is ignored",
        "height 64 is ignored",
    ]


async def test_a_model_under_another_name_is_requested_by_that_name(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.runs("/models/FLUX.2-klein-4B", served_model_name="painter")
    async with connect() as client:
        picture = await made(client, width=64, height=64)
        info = (await client.call_tool("get_model_info")).structured_content
    assert (omni.requests[0]["model"], picture["parameters_used"]["model"]) == ("painter", "painter")
    assert omni.requests[0]["num_inference_steps"] == 4
    assert info
    assert (info["model_name"], info["profile"], info["in_registry"]) == ("painter", KLEIN, True)


async def test_an_unknown_model_is_reported_in_the_words_of_the_plan(
    connect: Connect, omni: "OmniServer", caplog: pytest.LogCaptureFixture
) -> None:
    omni.runs(UNKNOWN)
    warning = (
        "Model 'acme/painter' is not in the known profiles. Using fallback defaults "
        "(steps=28, guidance=5.0). Generation may produce unexpected results."
    )
    async with connect() as client:
        picture = await made(client, width=64, height=64)
        info = (await client.call_tool("get_model_info")).structured_content
        presets = (await client.call_tool("list_presets")).structured_content
    assert picture["notes"] == [warning]
    assert info
    assert (info["in_registry"], info["notes"]) == (False, [warning])
    assert presets
    assert warning in presets["notes"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [warning]


async def test_the_key_is_sent_and_never_shown(
    connect: Connect, omni: "OmniServer", caplog: pytest.LogCaptureFixture
) -> None:
    omni.runs(KLEIN, api_key="canary-7f3a")
    caplog.set_level("DEBUG")
    async with connect(api_key="canary-7f3a", log_level="DEBUG") as client:
        picture = await made(client, width=64, height=64)
        status = (await client.call_tool("gpu_status")).structured_content
    assert "canary" not in str(picture) + str(status) + caplog.text
    assert b"canary" not in Path(picture["file_path"]).read_bytes()


async def test_a_wrong_key_is_reported_with_the_option_that_sets_it(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.runs(KLEIN, api_key="canary-7f3a")
    async with connect(api_key="wrong-canary") as client:
        result = await client.call_tool("generate_image", {"prompt": "a red fox"})
    assert result.is_error
    told = str(result.content)
    assert "--api-key or VLLM_IMAGE_API_KEY" in told
    assert "canary" not in told


async def test_a_server_restarted_with_another_model_gets_the_settings_of_that_model(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        await made(client, width=64, height=64)
        omni.runs(QWEN)
        picture = await made(client, width=64, height=64)
    assert (picture["parameters_used"]["model"], picture["parameters_used"]["steps"]) == (QWEN, 50)


RARE = {"flow_shift": 3.0, "output_compression": 80, "cfg_interval": [0.4, 1.0]}


async def test_a_lora_and_rare_parameters_are_sent_and_found_again(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.runs(KLEIN, lora_paths=("/loras/ink",))
    async with connect() as client:
        first = await made(
            client, seed=42, width=64, height=64, lora="/loras/ink:0.8", extra_params=json.dumps(RARE)
        )
        [sent] = omni.requests
        assert sent["lora"] == {"name": "ink", "path": "/loras/ink", "scale": 0.8}
        assert (sent["flow_shift"], sent["output_compression"]) == (3.0, 80)
        assert sent["extra_params"] == {"cfg_interval": [0.4, 1.0]}
        used = first["parameters_used"]
        assert used["lora"] == "ink=/loras/ink:0.8"
        again = {**used, "num_inference_steps": used["steps"]}
        del again["model"], again["steps"]
        assert (await made(client, **again))["reused"]
        found = (await client.call_tool("find_images", {})).structured_content
        assert found
        parameters = found["images"][0]["parameters"]
        assert parameters["extra_params"] == RARE
        assert (await made(client, **parameters))["reused"]
        assert not (await made(client, **{**parameters, "lora": "/loras/ink:0.4"}))["reused"]


async def test_a_lora_is_swept_over_its_scales(connect: Connect, omni: "OmniServer") -> None:
    omni.runs(KLEIN, lora_paths=("/loras/ink",))
    scales = ["/loras/ink:0.4", "/loras/ink:0.8"]
    async with connect() as client:
        result = await client.call_tool(
            "batch_generate",
            {"prompts": ["a fox"], "width": 64, "height": 64, "sweep": {"lora": scales}},
        )
    assert not result.is_error, result.content
    assert sorted(request["lora"]["scale"] for request in omni.requests) == [0.4, 0.8]
