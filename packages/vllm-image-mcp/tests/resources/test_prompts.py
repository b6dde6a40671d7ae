"""The prompts: a person's choice, filled in with what is known about the loaded model."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from mcp import Client, MCPError
from mcp.types import INVALID_PARAMS, TextContent
from vllm_image_core.models.registry import Registry

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

QWEN = "Qwen/Qwen-Image"


async def text(client: Client, name: str, **arguments: str) -> str:
    (message,) = (await client.get_prompt(name, arguments)).messages
    assert isinstance(message.content, TextContent)
    assert message.role == "user"
    return message.content.text


async def test_every_prompt_and_argument_is_described(connect: Connect) -> None:
    async with connect() as client:
        prompts = (await client.list_prompts()).prompts

    assert [prompt.name for prompt in prompts] == [
        "write_image_prompt",
        "explore_variations",
        "compare_settings",
    ]
    assert all(prompt.title and prompt.description for prompt in prompts)
    assert all(argument.description for prompt in prompts for argument in prompt.arguments or ())
    assert [
        [argument.name for argument in prompt.arguments or () if argument.required] for prompt in prompts
    ] == [["idea"], ["prompt"], ["prompt"]]


async def test_a_prompt_is_written_as_the_loaded_model_wants_it(connect: Connect, omni: "OmniServer") -> None:
    omni.runs(QWEN)
    profile = Registry.builtin().by_name(QWEN)
    assert profile
    assert profile.prompting

    async with connect() as client:
        told = await text(client, "write_image_prompt", idea="a fox {in} the snow", aspect_ratio="16:9")

    assert "a fox {in} the snow" in told
    assert f"The loaded model is {QWEN}." in told
    assert profile.prompting in told
    assert "It supports negative prompts." in told
    assert ', "16:9"' not in told
    assert 'aspect_ratio "16:9"' in told


async def test_prompts_for_a_model_that_only_edits_use_the_edit_tool(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.runs("Qwen/Qwen-Image-Edit")
    async with connect() as client:
        texts = [
            await text(client, "write_image_prompt", idea="an owl", aspect_ratio="1:1"),
            await text(client, "explore_variations", prompt="an owl"),
            await text(client, "compare_settings", prompt="an owl"),
        ]
    for told in texts:
        assert "It only edits images" in told
        assert "edit_image" in told
        assert "ask me which one" in told
        assert "batch_generate" not in told
        assert "call generate_image" not in told
        assert "spect_ratio" not in told


async def test_there_are_as_many_variations_as_requested(connect: Connect) -> None:
    async with connect() as client:
        assert "Write 4 prompts." in await text(client, "explore_variations", prompt="a fox")
        assert "Write 12 prompts." in await text(client, "explore_variations", prompt="a fox", count="12")


async def test_settings_are_compared_with_the_same_seed_unless_the_seed_is_compared(connect: Connect) -> None:
    async with connect() as client:
        steps = await text(client, "compare_settings", prompt="a fox", values="2, 4, 8")
        seeds = await text(client, "compare_settings", prompt="a fox", setting="seed")

    assert steps.startswith("Compare these values of num_inference_steps: 2, 4, 8. The image: a fox\n")
    assert 'with the values in sweep, as in {"num_inference_steps": [...]}: it keeps everything' in steps
    assert "everything else the same, the seed too." in steps
    assert "everything else the same. If it is still running" in seeds
    assert "three values of seed" in seeds


async def test_without_a_server_a_prompt_says_what_to_call_first(connect: Connect, nobody: str) -> None:
    async with connect(vllm_url=nobody) as client:
        told = await text(client, "write_image_prompt", idea="a fox")

    assert f"The image server at {nobody} does not report its loaded model: " in told
    assert "Call server_health" in told


@pytest.mark.parametrize(
    ("name", "arguments", "parameter"),
    [
        ("write_image_prompt", {"idea": "  "}, "idea"),
        ("write_image_prompt", {"idea": "x" * 20_001}, "idea"),
        ("explore_variations", {"prompt": "a fox", "count": "1"}, "count"),
        ("explore_variations", {"prompt": "a fox", "count": "21"}, "count"),
        ("explore_variations", {"prompt": "a fox", "count": "many"}, "count"),
        ("compare_settings", {"prompt": "a fox", "setting": "width"}, "setting"),
    ],
)
async def test_an_invalid_argument_is_refused_with_an_explanation(
    connect: Connect, name: str, arguments: dict[str, str], parameter: str
) -> None:
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.get_prompt(name, arguments)

    assert caught.value.code == INVALID_PARAMS
    assert caught.value.message.startswith(f"{parameter} is ")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("nope", {}, "There is no prompt 'nope'. Use one of: write_image_prompt, explore_variations,"),
        ("write_image_prompt", {}, "write_image_prompt needs the argument 'idea'. Its arguments are: idea,"),
        ("write_image_prompt", {"idea": "a fox", "size": "1"}, "write_image_prompt has no argument 'size'."),
    ],
)
async def test_an_unknown_prompt_or_argument_is_an_error_of_the_caller_in_plain_words(
    connect: Connect, caplog: pytest.LogCaptureFixture, name: str, arguments: dict[str, str], words: str
) -> None:
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.get_prompt(name, arguments)
    assert caught.value.error.code == INVALID_PARAMS
    assert caught.value.error.message.startswith(words)
    assert "Traceback" not in caplog.text
