from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from mcp import Client

if TYPE_CHECKING:
    from conftest import OmniServer


async def test_the_result_of_an_image_lists_only_what_was_drawn_changed_or_dropped(
    connect: Callable[..., Client],
) -> None:
    async with connect() as client:
        result = await client.call_tool(
            "generate_image", {"prompt": "a red fox", "negative_prompt": "blur", "width": 64, "height": 64}
        )
    assert result.structured_content
    told = result.structured_content["receipt"]
    seed = result.structured_content["parameters_used"]["seed"]
    assert told == [
        {
            "parameter": "negative_prompt",
            "outcome": "dropped",
            "requested": "blur",
            "sent": None,
            "confirmed": None,
        },
        {"parameter": "seed", "outcome": "drawn", "requested": None, "sent": seed, "confirmed": None},
    ]


async def test_long_text_is_cut_in_the_receipt(connect: Callable[..., Client]) -> None:
    async with connect() as client:
        result = await client.call_tool(
            "generate_image",
            {"prompt": "a fox", "negative_prompt": "blur " * 2_000, "width": 64, "height": 64, "seed": 7},
        )
    assert result.structured_content
    [told] = result.structured_content["receipt"]
    assert len(told["requested"]) == 120


async def test_a_quality_reaches_the_model_s_settings(
    connect: Callable[..., Client], omni: "OmniServer"
) -> None:
    omni.runs("Qwen/Qwen-Image")
    async with connect() as client:
        result = await client.call_tool(
            "generate_image", {"prompt": "a fox", "quality": "draft", "width": 64, "height": 64}
        )
        info = await client.call_tool("get_model_info", {})
    assert result.structured_content
    assert result.structured_content["parameters_used"]["steps"] == 20
    assert info.structured_content
    assert info.structured_content["qualities"] == ["draft", "best"]
    assert info.structured_content["prompting"].startswith("Complete sentences")


@pytest.mark.parametrize("quality", ["fast", 1])
async def test_an_invalid_quality_is_refused_with_the_valid_ones(
    connect: Callable[..., Client], quality: object
) -> None:
    async with connect() as client:
        result = await client.call_tool("generate_image", {"prompt": "a fox", "quality": quality})
    assert result.is_error
    assert "one of draft, standard, best" in str(result.content[0])


async def test_i11_a_parameter_that_a_tool_does_not_have_is_refused(connect: Callable[..., Client]) -> None:
    async with connect() as client:
        result = await client.call_tool("generate_image", {"prompt": "a fox", "steps": 4})
    assert result.is_error
    assert "generate_image has no parameter 'steps'" in str(result.content[0])
