"""The one boundary at which errors become text, and the life of the state behind it."""

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from mcp import Client
from mcp.types import TextContent
from vllm_image_core.generation.generator import Generator
from vllm_image_core.studio import Studio
from vllm_image_mcp.server import loop_factory

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]


async def told(client: Client, tool: str, **arguments: object) -> str:
    result = await client.call_tool(tool, arguments)
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert result.is_error
    return content.text


async def test_a_bug_is_reported_to_the_log_but_not_to_the_model(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Studio) -> object:
        raise RuntimeError("canary: an internal detail")

    monkeypatch.setattr(Studio, "model", broken)
    async with connect() as client:
        assert await told(client, "get_model_info") == "Error executing tool get_model_info"
        assert not (await client.call_tool("server_health")).is_error
    assert "canary: an internal detail" in caplog.text


async def test_a_bug_while_generating_is_reported_in_the_same_way(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Generator, *args: object, **options: object) -> object:
        raise RuntimeError("canary: an internal detail")

    monkeypatch.setattr(Generator, "generate", broken)
    async with connect() as client:
        small = {"width": 64, "height": 64}
        assert await told(client, "generate_image", prompt="fox", **small) == (
            "Error executing tool generate_image"
        )
        assert await told(client, "batch_generate", prompts=["fox"], **small) == (
            "Error executing tool batch_generate"
        )
    assert "canary: an internal detail" in caplog.text


async def test_an_expected_failure_leaves_no_traceback_in_the_log(
    connect: Connect, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(vllm_url=nobody) as client:
        await told(client, "generate_image", prompt="a red fox")
        await told(client, "cancel_batch", batch_id="batch_0")
    assert [record for record in caplog.records if record.exc_info] == []


async def test_an_unusable_proxy_is_explained_at_every_call(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://user:canary@proxy")
    async with connect(vllm_url="http://gpu.example.com") as client:
        texts = [await told(client, "get_model_info") for _ in range(2)]
    assert texts[0] == texts[1]
    assert "HTTP_PROXY" in texts[0]
    assert "canary" not in texts[0]


async def test_the_studio_is_opened_by_the_first_tool_and_closed_with_the_server(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    opened, closed = Studio.__init__, Studio.aclose

    def opening(self: Studio, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they came
        events.append("opened")
        opened(self, *args, **kwargs)

    async def closing(self: Studio) -> None:
        events.append("closed")
        await closed(self)

    monkeypatch.setattr(Studio, "__init__", opening)
    monkeypatch.setattr(Studio, "aclose", closing)
    async with connect() as client:
        await client.list_tools()
        assert events == []
        await client.call_tool("get_model_info")
        await client.call_tool("list_presets")
    assert events == ["opened", "closed"]


async def test_a_server_that_was_never_called_closes_nothing(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closing(_: Studio) -> None:
        raise AssertionError

    monkeypatch.setattr(Studio, "aclose", closing)
    async with connect() as client:
        assert len((await client.list_tools()).tools) == 13


async def test_servers_on_one_folder_know_the_batches_of_each_other(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as one, connect() as other:
        batch = await one.call_tool("batch_generate", {"prompts": ["fox"], "width": 64, "height": 64})
        assert batch.structured_content
        name = batch.structured_content["batch_id"]
        told = (await other.call_tool("get_batch", {"batch_id": name})).structured_content
    assert told
    assert (told["status"], told["results"][0]["file_path"]) == (
        "success",
        batch.structured_content["results"][0]["file_path"],
    )
    assert told["parameters"] == batch.structured_content["parameters"]
    assert len(omni.requests) == 1


def test_the_event_loop_is_that_of_uvloop_if_installed() -> None:
    uvloop = pytest.importorskip("uvloop")
    factory = loop_factory()
    assert factory
    loop = factory()
    loop.close()
    assert isinstance(loop, uvloop.Loop)


def test_otherwise_the_event_loop_is_that_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None


async def test_the_server_has_a_website_and_a_small_icon(connect: Connect) -> None:
    async with connect() as client:
        assert client.server_info is not None
        assert client.server_info.website_url == "https://github.com/vllm-image/vllm-image"
        assert client.server_info.icons is not None
        [icon] = client.server_info.icons
        assert len(client.server_info.model_dump_json()) < 600
    kind, _, drawing = icon.src.partition(",")
    assert kind == f"data:{icon.mime_type}"
    assert re.fullmatch(
        r"<svg xmlns='http://www\.w3\.org/2000/svg' .*(<path [^<>]*/>)+</svg>", unquote(drawing)
    )


async def test_constant_lists_may_be_cached_but_those_of_images_may_not(connect: Connect, era: str) -> None:
    async with connect() as client:
        unchanging = [
            await client.list_tools(),
            await client.list_prompts(),
            await client.list_resource_templates(),
        ]
        images = await client.list_resources()
    if era == "2026-07-28":
        assert {(each.ttl_ms, each.cache_scope) for each in unchanging} == {(300_000, "public")}
        assert (images.ttl_ms, images.cache_scope) == (0, "private")
