"""Slow edits: limited, reported, kept and shown as generations are."""

import asyncio
import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.types import CallToolResult, ImageContent, ResourceLink, TextContent
from PIL import Image
from vllm_image_core.storage.input_store import inputs_folder
from vllm_image_mcp.jobs import progress as progress_module

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]


def png(size: tuple[int, int] = (128, 96), colour: str = "#336699") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(autouse=True)
def fox(tmp_path: Path) -> Path:
    """An image in the output folder."""
    path = tmp_path / "fox.png"
    path.write_bytes(png())
    return path


def told(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    assert result.structured_content
    return result.structured_content


def made(folder: Path) -> set[str]:
    return {str(path) for path in folder.glob("img_*.png")}


async def edited(client: Client, **arguments: object) -> CallToolResult:
    return await client.call_tool("edit_image", {"prompt": "make it night", "images": ["fox"], **arguments})


async def test_a_slow_edit_is_answered_as_running_and_runs_once_with_its_original_input(
    connect: Connect, omni: "OmniServer", tmp_path: Path, fox: Path
) -> None:
    omni.hold_after(0)
    async with connect(max_wait="0.05") as client, asyncio.timeout(60):
        first = told(await edited(client, seed=7))
        assert (first["status"], first["file_path"], first["inputs"]) == ("running", None, ["fox.png"])
        assert "get_batch with this batch_id waits for it." in first["notes"][-1]
        name = first["batch_id"]
        for _ in range(3):
            again = told(await client.call_tool("get_batch", {"batch_id": name}))
            assert (again["status"], again["images_generated"], again["images_left"]) == ("running", 0, 1)
        fox.write_bytes(png(colour="#ff0000"))
        omni.release()
        result = await client.call_tool("get_batch", {"batch_id": name, "max_wait": 60})
    last = told(result)
    (image,) = last["results"]
    assert (last["status"], image["status"], image["seed"]) == ("success", "success", 7)
    assert [each.type for each in result.content] == ["text", "image", "resource_link"]
    assert made(tmp_path) == {image["file_path"]}
    assert [request["image"] for request in omni.requests] == [[png()]]


async def test_progress_names_the_batch_first_and_continues_while_nothing_happens(
    connect: Connect, omni: "OmniServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "TICK_SECONDS", 0.01)
    omni.hold_after(0)
    heard: list[tuple[float, str]] = []
    enough = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message or ""))
        assert total == 1
        if len(heard) == 4:
            enough.set()

    async with connect() as client, asyncio.timeout(60):
        call = asyncio.create_task(
            client.call_tool(
                "edit_image", {"prompt": "make it night", "images": ["fox"]}, progress_callback=hear
            )
        )
        await enough.wait()
        omni.release()
        answer = told(await call)
    assert answer["status"] == "success"
    assert all(message.startswith(f"{answer['batch_id']}: 0 of 1") for _, message in heard[:4])
    values = [progress for progress, _ in heard]
    assert values == sorted(set(values))


async def test_an_edit_that_its_host_abandons_is_kept_once_it_was_sent(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(0)
    names: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        names.append((message or "").split(":")[0])

    async with connect() as client, asyncio.timeout(60):
        call = asyncio.create_task(
            client.call_tool(
                "edit_image", {"prompt": "make it night", "images": ["fox"]}, progress_callback=hear
            )
        )
        await asyncio.to_thread(omni.wait_for, 1)
        call.cancel()
        await asyncio.wait([call])
        omni.release()
        answer = told(await client.call_tool("get_batch", {"batch_id": names[0]}))
        while answer["status"] in {"running", "interrupted"}:  # until the end is written down
            answer = told(await client.call_tool("get_batch", {"batch_id": names[0]}))
    assert (answer["status"], answer["images_generated"], len(omni.requests)) == ("success", 1, 1)
    assert made(tmp_path) == {answer["results"][0]["file_path"]}


async def test_an_edit_comes_with_a_preview_a_link_and_the_same_as_text(
    connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "large.png").write_bytes(png((1600, 800)))
    async with connect() as client:
        result = await edited(client, images=["large"], seed=7)
    answer = told(result)
    text, preview, link = result.content
    assert isinstance(text, TextContent)
    assert isinstance(preview, ImageContent)
    assert isinstance(link, ResourceLink)
    assert json.loads(text.text) == answer
    path = Path(answer["file_path"])
    assert path.parent == tmp_path
    assert (answer["uri"], link.uri, answer["inputs"]) == (
        f"image://{path.name}",
        f"image://{path.name}",
        ["large.png"],
    )
    assert str(path) in (link.description or "")
    with Image.open(io.BytesIO(base64.b64decode(preview.data))) as image:
        assert (image.format, image.size) == ("JPEG", (768, 384))
    assert len(preview.data) <= 150_000


async def test_an_edit_without_a_preview_still_has_its_link(connect: Connect) -> None:
    async with connect(preview="none") as client:
        result = await edited(client)
    assert [each.type for each in result.content] == ["text", "resource_link"]


async def test_a_failed_edit_is_an_error_and_is_not_run_later(
    connect: Connect, omni: "OmniServer", nobody: str, tmp_path: Path
) -> None:
    omni.failures["make it night"] = (400, "no nights here")
    async with connect() as client:
        result = await edited(client)
    assert (result.is_error, result.structured_content) == (True, None)
    assert "no nights here" in str(result.content)
    async with connect(vllm_url=nobody) as client:
        away = await edited(client)
        listed = told(await client.call_tool("list_batches"))["batches"]
    assert away.is_error
    assert "Cannot connect to vLLM server" in str(away.content)
    assert all(each["status"] in {"failed", "cancelled"} for each in listed)
    assert made(tmp_path) == set()


async def test_an_invalid_wait_is_refused_before_anything_is_kept_or_sent(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    async with connect() as client:
        result = await edited(client, max_wait=-1)
    assert result.is_error
    assert "max_wait: -1 is not a valid time." in str(result.content)
    assert omni.requests == []
    assert not inputs_folder(tmp_path).exists()
