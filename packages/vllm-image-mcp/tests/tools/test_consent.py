"""Asking the user before a long batch, in both protocol eras, and never without the option."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.client.session import ClientRequestContext
from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult, TextContent
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings

if TYPE_CHECKING:
    from conftest import OmniServer

Host = Callable[..., Client]
BATCH: dict[str, Any] = {"prompts": ["a red fox", "an owl"], "width": 64, "height": 64}


class User:
    """Answers what a host asks; `answer` None is a host that cannot ask."""

    def __init__(self, answer: ElicitResult | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def hear(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert self.answer is not None
        self.asked.append(params.message)
        return self.answer


@pytest.fixture
def host(era: str, omni: "OmniServer", tmp_path: Path) -> Host:
    def client(user: User, **options: object) -> Client:
        settings = Settings.from_arguments(vllm_url=omni.url, output_dir=tmp_path, **options)
        return Client(
            build_server(settings),
            mode="legacy" if era == "2025-11-25" else "auto",
            read_timeout_seconds=60,
            elicitation_callback=user.hear if user.answer else None,
        )

    return client


def text(result: CallToolResult) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    return content.text


AGREES = ElicitResult(action="accept", content={"go_on": True})


async def test_a_batch_over_the_limit_is_generated_if_the_user_agrees(host: Host, omni: "OmniServer") -> None:
    user = User(AGREES)
    async with host(user, confirm_over="0.001") as client:
        result = await client.call_tool("batch_generate", BATCH)
    assert not result.is_error, text(result)
    assert [message.startswith("2 images will take about ") for message in user.asked] == [True]
    assert len(omni.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        ElicitResult(action="decline"),
        ElicitResult(action="cancel"),
        ElicitResult(action="accept", content={"go_on": False}),
    ],
)
async def test_it_is_not_generated_if_the_user_declines(
    host: Host, omni: "OmniServer", answer: ElicitResult
) -> None:
    user = User(answer)
    async with host(user, confirm_over="0.001") as client:
        result = await client.call_tool("batch_generate", BATCH)
        batches = (await client.call_tool("list_batches", {})).structured_content
    assert result.is_error
    assert text(result).startswith("The user declined these 2 images; nothing was sent.")
    assert (len(user.asked), omni.requests, batches) == (1, [], {"batches": [], "notes": []})


@pytest.mark.parametrize("limit", [None, "3600"])
async def test_nobody_is_asked_below_the_limit_or_without_one(
    host: Host, omni: "OmniServer", limit: str | None
) -> None:
    user = User(AGREES)
    async with host(user, confirm_over=limit) as client:
        result = await client.call_tool("batch_generate", BATCH)
        one = await client.call_tool("generate_image", {"prompt": "a red fox", "width": 64, "height": 64})
    assert (result.is_error, one.is_error, user.asked, len(omni.requests)) == (False, False, [], 3)


async def test_a_host_that_cannot_ask_is_told_what_to_do(host: Host, omni: "OmniServer") -> None:
    async with host(User(None), confirm_over="0.001") as client:
        result = await client.call_tool("batch_generate", BATCH)
    assert result.is_error
    assert "over the limit of 0.001 s set by --confirm-over" in text(result)
    assert "Ask the user; then request fewer or smaller images" in text(result)
    assert omni.requests == []


async def test_the_images_of_a_sweep_are_counted(host: Host) -> None:
    user = User(ElicitResult(action="decline"))
    sweep = {"seed": [1, 2, 3], "guidance_scale": [1, 2]}
    arguments = {"prompts": ["a red fox"], "sweep": sweep, "width": 64, "height": 64}
    async with host(user, confirm_over="0.001") as client:
        await client.call_tool("batch_generate", arguments)
    assert [message.split()[0] for message in user.asked] == ["6"]


async def test_errors_are_reported_before_anybody_is_asked(host: Host, omni: "OmniServer") -> None:
    user = User(AGREES)
    async with host(user, confirm_over="0.001") as client:
        result = await client.call_tool("batch_generate", {**BATCH, "width": 1000})
        other = await client.call_tool("batch_generate", {"prompts": "a red fox"})
    assert "Width 1000 is not a multiple of 16. Nearest valid width is 1008." in text(result)
    assert "prompts: 'a red fox' is not a list." in text(other)
    assert (user.asked, omni.requests) == ([], [])
