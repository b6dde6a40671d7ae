"""What a model may send by mistake: each is refused helpfully, and nothing reaches the server."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

PICTURE: dict[str, object] = {"prompt": "a red fox"}
BATCH: dict[str, object] = {"prompts": ["a red fox"]}

PARAMETERS = (
    "prompt, negative_prompt, width, height, aspect_ratio, num_inference_steps, guidance_scale, seed, "
    "filename, quality, style, output_format, lora, extra_params, max_wait"
)


@pytest.fixture(params=["2026-07-28"])
def era(request: pytest.FixtureRequest) -> str:
    """One is enough here unless a test asks for both: arguments are checked behind the protocol."""
    return request.param


def text(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def refused(client: Client, tool: str, arguments: dict[str, object]) -> str:
    """The text of a refused call: short, on one line, for a reader who is not a programmer."""
    result = await client.call_tool(tool, arguments)
    told = text(result)
    assert (result.is_error, result.structured_content) == (True, None), told
    assert told.isprintable()
    assert len(told) < 600
    assert not [word for word in ("Traceback", "pydantic", "input_value", "Error executing") if word in told]
    return told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": 1000}, "Width 1000 is not a multiple of 16. Nearest valid width is 1008."),
        (
            {"width": 1000, "height": 1024},
            "Width 1000 is not a multiple of 16. Nearest valid width is 1008.",
        ),
        (
            {"width": 1024, "height": 1001},
            "Height 1001 is not a multiple of 16. Nearest valid height is 1008.",
        ),
        (
            {"width": 1000, "height": 1001},
            (
                "Width 1000 is not a multiple of 16. Nearest valid width is 1008. "
                "Height 1001 is not a multiple of 16. Nearest valid height is 1008."
            ),
        ),
        ({"width": 4096, "height": 4096}, "4 megapixels"),
        ({"width": 0, "height": 64}, "width: 0 is out of range"),
        ({"width": -16, "height": 64}, "width: -16 is out of range"),
        ({"width": 2**70, "height": 64}, "width: an integer of more than 64 bits is out of range"),
        ({"width": 64.5, "height": 64}, "width: 64.5 is not an integer"),
        ({"width": "64px", "height": 64}, "width: '64px' is not an integer"),
        ({"width": True, "height": 64}, "width: True is not an integer"),
        ({"height": {"pixels": 64}}, "height: a dict is not an integer"),
        (
            {"aspect_ratio": "5:4"},
            "Aspect ratio '5:4' is not supported by this model. Supported: 1:1 (1024x1024)",
        ),
        ({"aspect_ratio": "wide"}, "Aspect ratio 'wide' is not supported"),
        ({"aspect_ratio": 1.78}, "Aspect ratio 1.78 is not supported"),
        ({"aspect_ratio": ["16:9"]}, "Aspect ratio a list is not supported"),
        ({"num_inference_steps": 0}, "num_inference_steps: 0 is out of range"),
        ({"num_inference_steps": 201}, "num_inference_steps: 201 is out of range"),
        ({"num_inference_steps": "four"}, "num_inference_steps: 'four' is not an integer"),
        ({"guidance_scale": -0.5}, "guidance_scale: -0.5 is out of range"),
        ({"guidance_scale": 20.5}, "guidance_scale: 20.5 is out of range"),
        ({"guidance_scale": "nan"}, "guidance_scale: 'nan' is not a number"),
        ({"guidance_scale": True}, "guidance_scale: True is not a number"),
        ({"seed": True}, "seed: True is not an integer"),
        ({"seed": "7.5"}, "seed: '7.5' is not an integer"),
        ({"seed": 7.5}, "seed: 7.5 is not an integer"),
        ({"seed": "1e999"}, "seed: '1e999' is not an integer"),
        ({"seed": 2**70}, "seed: an integer of more than 64 bits is out of range"),
        ({"seed": 2**63}, "seed: 9223372036854775808 is out of range"),
        ({"seed": []}, "seed: a list is not an integer"),
        ({"prompt": ""}, "The prompt is empty."),
        ({"prompt": " \n\t "}, "The prompt is empty."),
        ({"prompt": "fox " * 25_000}, "The prompt has 100000 characters; at most 20000 are allowed."),
        ({"prompt": "fox\x00"}, "The prompt has a character that is not allowed: U+0000 at 3."),
        ({"prompt": ["a red fox"]}, "prompt: a list is not a string"),
        ({"prompt": 7}, "prompt: 7 is not a string"),
        ({"prompt": None}, "prompt: None is not a string"),
        ({"negative_prompt": ["blurry"]}, "negative_prompt: a list is not a string"),
        ({"negative_prompt": "x" * 100_000}, "The negative_prompt has 100000 characters"),
        ({"filename": "../fox"}, "The filename '../fox' leads out of the output folder."),
        ({"filename": ".."}, "The filename '..' begins or ends with a character that is not allowed there."),
        (
            {"filename": "/etc/passwd"},
            "The filename '/etc/passwd' is an absolute path.",
        ),
        ({"filename": "C:\\fox.png"}, "has a character that is not allowed in filenames."),
        ({"filename": "fox\x00.png"}, "has a control character"),
        ({"filename": "x" * 300}, "has 300 characters"),
        ({"filename": "CON"}, "is reserved by Windows"),
        ({"filename": " "}, "is empty"),
        ({"filename": 7}, "The filename is not a string"),
        ({"filename": ["fox"]}, "The filename is not a string"),
    ],
)
async def test_an_impossible_image_is_refused_before_anything_is_sent(
    *,
    connect: Connect,
    omni: "OmniServer",
    tmp_path: Path,
    arguments: dict[str, object],
    words: str,
) -> None:
    async with connect() as client:
        told = await refused(client, "generate_image", {**PICTURE, **arguments})
    assert words in told
    assert (omni.requests, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompts": "a red fox"}, "prompts: 'a red fox' is not a list. Give prompts as a list"),
        ({"prompts": {"0": "fox"}}, "prompts: a dict is not a list."),
        ({"prompts": None}, "prompts: None is not a list."),
        ({"prompts": [7]}, "A prompt is 7, which is neither text nor an object."),
        ({"prompts": [["fox"]]}, "A prompt is a list, which is neither text nor an object."),
        ({"prompts": ["fox", None]}, "This is prompt 1 of the list, counted from 0."),
        ({"seeds": 7}, "seeds: 7 is not a list."),
        ({"seeds": "7"}, "seeds: '7' is not a list."),
        ({"seeds": [True]}, "seed: True is not an integer"),
        ({"seeds": ["7a"]}, "seed: '7a' is not an integer"),
        ({"seeds": [2**70]}, "is out of range"),
        ({"max_concurrent": 0}, "max_concurrent: 0 is out of range"),
        ({"max_concurrent": -1}, "max_concurrent: -1 is out of range"),
        ({"max_concurrent": "all"}, "max_concurrent: 'all' is not an integer"),
        ({"max_concurrent": True}, "max_concurrent: True is not an integer"),
        ({"max_concurrent": 1.5}, "max_concurrent: 1.5 is not an integer"),
        ({"width": 1000, "height": 1024}, "Width 1000 is not a multiple of 16. Nearest valid width is 1008."),
    ],
)
async def test_an_impossible_batch_is_refused_before_anything_is_sent(
    *, connect: Connect, omni: "OmniServer", arguments: dict[str, object], words: str
) -> None:
    async with connect() as client:
        assert words in await refused(client, "batch_generate", {**BATCH, **arguments})
    assert omni.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_images": 0}, "num_images: 0 is out of range"),
        ({"num_images": True}, "num_images: True is not an integer"),
        ({"num_images": "some"}, "num_images: 'some' is not an integer"),
        ({"num_images": 10**9}, "num_images: 1000000000 is out of range"),
        ({"width": 1000}, "Width 1000 is not a multiple of 16."),
        ({"width": {}}, "width: a dict is not an integer"),
        ({"num_inference_steps": 0}, "num_inference_steps: 0 is out of range"),
    ],
)
async def test_an_impossible_estimate_is_refused(
    connect: Connect, arguments: dict[str, object], words: str
) -> None:
    async with connect() as client:
        assert words in await refused(client, "estimate_generation", arguments)


@pytest.mark.parametrize("value", ["no", "0", 0, 1, [], {}, 1.0])
@pytest.mark.parametrize("switch", ["wait", "resume"])
async def test_a_switch_that_is_neither_true_nor_false_is_refused(
    connect: Connect, switch: str, value: object
) -> None:
    async with connect() as client:
        told = await refused(client, "get_batch", {"batch_id": "batch_0", switch: value})
    assert told.startswith(f"{switch}: ")
    assert "Use true or false." in told


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("estimate_generation", {"num_images": None, "width": None}),
        ("find_images", {"limit": None, "offset": None, "text": None}),
    ],
)
async def test_null_stands_for_the_default(connect: Connect, tool: str, arguments: dict[str, object]) -> None:
    async with connect() as client:
        given, left_out = await client.call_tool(tool, arguments), await client.call_tool(tool, {})
    assert (given.is_error, given.structured_content) == (False, left_out.structured_content)


@pytest.mark.parametrize("name", [7, None, ["batch_0"], {"id": "batch_0"}, True])
async def test_anything_but_an_id_names_no_batch(connect: Connect, name: object) -> None:
    async with connect() as client:
        assert "is not known here." in await refused(client, "cancel_batch", {"batch_id": name})


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("generate_image", {}, f"prompt: Field required. Its parameters are: {PARAMETERS}."),
        ("batch_generate", {}, "prompts: Field required."),
        ("cancel_batch", {}, "batch_id: Field required. Its parameters are: batch_id."),
    ],
)
async def test_a_missing_parameter_is_named(
    connect: Connect, tool: str, arguments: dict[str, object], words: str
) -> None:
    async with connect() as client:
        told = await refused(client, tool, arguments)
    assert told.startswith(f"{tool} was called with invalid arguments: ")
    assert words in told


@pytest.mark.parametrize(
    ("tool", "arguments", "name", "hint"),
    [
        ("generate_image", {**PICTURE, "steps": 4}, "steps", "Use num_inference_steps"),
        (
            "generate_image",
            {**PICTURE, "extra_body": {"num_inference_steps": 4}},
            "extra_body",
            "Pass num_inference_steps at the top level, not inside it",
        ),
        (
            "generate_image",
            {**PICTURE, "n": 4},
            "n",
            "It generates one image; use batch_generate for several",
        ),
        ("generate_image", {**PICTURE, "Width": 64}, "Width", "Use width"),
        (
            "batch_generate",
            {**BATCH, "mask": "f"},
            "mask",
            "Only edit_image takes mask",
        ),
        ("cancel_batch", {"batchId": "batch_0"}, "batchId", "Use batch_id"),
    ],
)
async def test_a_misspelt_parameter_is_refused_with_the_right_name(
    *, connect: Connect, omni: "OmniServer", tool: str, arguments: dict[str, object], name: str, hint: str
) -> None:
    async with connect() as client:
        told = await refused(client, tool, arguments)
    assert told.startswith(f"{tool} has no parameter '{name}'. {hint}. Its parameters are: ")
    assert omni.requests == []


async def test_a_tool_that_does_not_exist_is_named(connect: Connect) -> None:
    async with connect() as client:
        assert "edit_image" in await refused(client, "edit_image", {})


@pytest.mark.parametrize(
    "era", [pytest.param("2025-11-25", marks=pytest.mark.legacy_era), "2026-07-28"], indirect=True
)
async def test_the_server_still_works_after_all_of_that(connect: Connect) -> None:
    bad: tuple[object, ...] = (True, "7x", 7.5, 2**70, [])
    async with connect() as client:
        for seed in bad:
            await refused(client, "generate_image", {**PICTURE, "seed": seed})
        result = await client.call_tool("generate_image", {**PICTURE, "width": 64, "height": 64, "seed": 7})
    assert not result.is_error


@pytest.mark.parametrize("seed", [0, -2, 2**63 - 1, -(2**63), 4294967296])
async def test_every_64_bit_seed_is_accepted(connect: Connect, omni: "OmniServer", seed: int) -> None:
    async with connect() as client:
        result = await client.call_tool(
            "generate_image", {**PICTURE, "width": 64, "height": 64, "seed": seed}
        )
    assert not result.is_error
    assert omni.requests[0]["seed"] == seed


@pytest.mark.parametrize(
    "prompt", ["ein roter Fuchs im Schnee ❄️", "雪中的红狐", "a\nb\tc", '"; DROP TABLE', "x" * 20_000]
)
async def test_any_text_is_a_prompt_and_is_sent_unchanged(
    connect: Connect, omni: "OmniServer", prompt: str
) -> None:
    async with connect() as client:
        result = await client.call_tool("generate_image", {"prompt": prompt, "width": 64, "height": 64})
    assert result.structured_content
    assert omni.requests[0]["prompt"] == prompt
    told = result.structured_content["parameters_used"]["prompt"]
    cut = "The prompt is cut to 1000 characters in this result; it was sent in full."
    assert (told == prompt) == (len(prompt) <= 1_000) == (cut not in result.structured_content["notes"])
    assert len(told) <= 1_000


async def test_a_folder_that_cannot_be_written_is_reported_before_anything_is_sent(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    async with connect(output_dir=tmp_path / "file") as client:
        picture = await refused(client, "generate_image", PICTURE)
        batch = await refused(client, "batch_generate", BATCH)
    assert picture == batch
    assert picture.startswith(f"Cannot save images in {tmp_path / 'file'}: ")
    assert picture.endswith("A file is in the way: choose another output folder. Set it with --output-dir.")
    assert omni.requests == []


async def test_tools_that_write_nothing_work_without_the_folder(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    async with connect(output_dir=tmp_path / "file") as client:
        results = [
            await client.call_tool(tool)
            for tool in (
                "get_model_info",
                "gpu_status",
                "list_presets",
                "server_health",
                "estimate_generation",
            )
        ]
    assert [result.is_error for result in results] == [False] * 5
