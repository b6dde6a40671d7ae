"""What hosts are notified of: batches, the latest images and the list of resources, in both eras."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.types import ResourceListChangedNotification, ResourceUpdatedNotification, TextResourceContents

if TYPE_CHECKING:
    from conftest import OmniServer, StdioServer

Connect = Callable[..., Client]
Spawn = Callable[..., "StdioServer"]

DEADLINE_SECONDS = 60.0
SMALL = {"width": 64, "height": 64}
LATEST = "images://latest"


async def state_of(client: Client, batch: str) -> dict[str, Any]:
    (contents,) = (await client.read_resource(f"batch://{batch}")).contents
    assert isinstance(contents, TextResourceContents)
    return json.loads(contents.text)


async def begun_batch(client: Client, count: int) -> str:
    prompts = [f"a fox, {number}" for number in range(count)]
    result = await client.call_tool("batch_generate", {"prompts": prompts, "max_wait": 0, **SMALL})
    assert result.structured_content
    return result.structured_content["batch_id"]


async def test_only_what_is_notified_is_announced(connect: Connect) -> None:
    async with connect() as client:
        capabilities = client.server_capabilities
        assert capabilities.resources
        assert (capabilities.resources.subscribe, capabilities.resources.list_changed) == (True, True)
        assert capabilities.tools
        assert not capabilities.tools.list_changed
        assert capabilities.prompts
        assert not capabilities.prompts.list_changed


@pytest.mark.parametrize("era", ["2026-07-28"], indirect=True)
async def test_listeners_hear_of_each_change_until_the_batch_is_over(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.hold_after(0)
    async with asyncio.timeout(DEADLINE_SECONDS), connect() as client:
        batch = await begun_batch(client, 2)
        seen: set[object] = set()
        uris = [LATEST, f"batch://{batch}"]
        async with client.listen(
            resource_subscriptions=uris, resources_list_changed=True, tools_list_changed=True
        ) as changes:
            assert changes.honored.tools_list_changed is None
            omni.release()
            async for change in changes:
                seen.add(change)
                if (await state_of(client, batch))["status"] == "success":
                    break
        expected = {ResourceUpdated(uris[0]), ResourceUpdated(uris[1]), ResourcesListChanged()}
        assert seen <= expected
        assert ResourceUpdated(uris[1]) in seen


@pytest.mark.filterwarnings("ignore:resources/.*subscribe is removed")
async def test_a_host_of_either_era_hears_over_stdio_of_an_image_that_was_saved(
    era: str, tmp_path: Path
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            heard.put_nowait(str(message.params.uri))
        elif isinstance(message, ResourceListChangedNotification):
            heard.put_nowait("list")

    command = ["-m", "vllm_image_mcp", "--demo", "--output-dir", str(tmp_path)]
    legacy = era == "2025-11-25"
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        Client(
            StdioServerParameters(command=sys.executable, args=command),
            mode="legacy" if legacy else "auto",
            message_handler=hear,
        ) as client,
    ):
        assert client.protocol_version == era
        if legacy:
            await client.session.subscribe_resource(LATEST)  # pyright: ignore[reportDeprecated] - this era's way
            await client.call_tool("generate_image", {"prompt": "a red fox", **SMALL})
            assert {await heard.get(), await heard.get()} == {LATEST, "list"}
            await client.session.unsubscribe_resource(LATEST)  # pyright: ignore[reportDeprecated] - likewise
            await client.call_tool("generate_image", {"prompt": "a blue fox", **SMALL})
            assert await heard.get() == "list"
            return
        async with client.listen(resource_subscriptions=[LATEST], resources_list_changed=True) as changes:
            await client.call_tool("generate_image", {"prompt": "a red fox", **SMALL})
            assert {await anext(changes), await anext(changes)} == {
                ResourceUpdated(LATEST),
                ResourcesListChanged(),
            }


def test_a_host_that_subscribes_to_a_batch_by_hand_is_notified_of_it(
    spawn: Spawn, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(0)
    server = spawn("--vllm-url", omni.url, "--output-dir", str(tmp_path))
    announced = server.initialize()["result"]["capabilities"]
    assert announced["resources"] == {"subscribe": True, "listChanged": True}
    assert announced["tools"] == announced["prompts"] == {"listChanged": False}
    batch = server.call("batch_generate", prompts=["fox", "owl"], max_wait=0, **SMALL)["structuredContent"]
    uri = f"batch://{batch['batch_id']}"
    assert server.ask("resources/subscribe", uri=uri)["result"] == {}
    assert server.notified("notifications/resources/updated") == []
    omni.release()
    server.call("get_batch", batch_id=batch["batch_id"])
    assert server.end() == 0
    updated = server.notified("notifications/resources/updated")
    assert {message["params"]["uri"] for message in updated} == {uri}
    assert server.notified("notifications/resources/list_changed")
