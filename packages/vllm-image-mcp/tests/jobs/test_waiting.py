"""Time: calls answer before their images are done, and nothing is lost or generated twice."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_mcp.jobs import progress as progress_module
from vllm_image_mcp.jobs import waiting
from vllm_image_mcp.jobs.batch_monitor import BatchMonitor
from vllm_image_mcp.jobs.batch_tracker import BatchTracker
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_omni_client.simulator.http.serving import serve_in_thread

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

SMALL = {"width": 64, "height": 64}
GPU_MINUTES = {
    "prompt": "a red fox",
    "num_inference_steps": 200,
    "guidance_scale": 4,
    "width": 512,
    "height": 512,
}


def told(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    assert result.structured_content
    return result.structured_content


def text(result: CallToolResult) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    return content.text


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.glob("*.png")}


async def test_a_slow_image_is_answered_as_running_and_is_generated_once_in_the_end(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(0)
    async with connect(max_wait="0.05") as client, asyncio.timeout(60):
        first = told(await client.call_tool("generate_image", {"prompt": "a red fox", "seed": 7, **SMALL}))
        assert (first["status"], first["file_path"], first["parameters_used"]) == ("running", None, None)
        name = first["batch_id"]
        for _ in range(4):
            again = told(await client.call_tool("get_batch", {"batch_id": name}))
            assert (again["status"], again["images_generated"], again["images_left"]) == ("running", 0, 1)
            assert "get_batch with this batch_id waits for the rest." in again["notes"][-1]
        omni.release()
        last = told(await client.call_tool("get_batch", {"batch_id": name, "max_wait": 60}))
    (image,) = last["results"]
    assert (last["status"], image["status"], image["seed"]) == ("success", "success", 7)
    assert files(tmp_path) == {image["file_path"]}
    assert len(omni.requests) == 1


async def test_twenty_images_are_generated_once_each_over_many_short_calls(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(5)
    prompts = [f"fox {number}" for number in range(20)]
    async with connect(max_wait="0.05") as client, asyncio.timeout(60):
        answer = told(
            await client.call_tool("batch_generate", {"prompts": prompts, "max_concurrent": 2, **SMALL})
        )
        assert answer["status"] == "running"
        calls = 0
        while answer["status"] == "running":
            calls += 1
            if calls == 5:
                omni.release()
            answer = told(await client.call_tool("get_batch", {"batch_id": answer["batch_id"]}))
    assert (answer["status"], answer["images_generated"], answer["images_left"]) == ("success", 20, 0)
    assert [each["prompt"] for each in answer["results"]] == prompts
    assert files(tmp_path) == {each["file_path"] for each in answer["results"]}
    assert sorted(request["prompt"] for request in omni.requests) == sorted(prompts)


async def test_three_minutes_work_through_a_client_with_a_limit_of_one_and_no_progress(
    omni: "OmniServer", tmp_path: Path
) -> None:
    """The same in real time, a twentieth of it: images of 9 s, calls that wait 2.25 s, a limit of 3 s."""
    omni.runs("Qwen/Qwen-Image", speed=9 / 23.6)
    settings = Settings.from_arguments(vllm_url=omni.url, output_dir=tmp_path, max_wait="2.25")
    calls = 1
    async with Client(build_server(settings), read_timeout_seconds=60) as client, asyncio.timeout(60):
        async with asyncio.timeout(12):  # the first call asks the server for its model, too
            answer = told(await client.call_tool("generate_image", GPU_MINUTES))
        while answer["status"] == "running":
            calls += 1
            answer = told(await client.call_tool("get_batch", {"batch_id": answer["batch_id"]}))
    assert (answer["status"], len(omni.requests), len(files(tmp_path))) == ("success", 1, 1)
    assert calls >= 3


async def test_finished_images_are_returned_while_the_rest_is_in_progress(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.hold_after(1)
    arguments = {"prompts": ["fox", "owl", "hare"], "max_concurrent": 1, **SMALL}
    async with connect() as client, asyncio.timeout(60):
        one_done = asyncio.Event()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            if progress >= 1:
                one_done.set()

        first = told(await client.call_tool("batch_generate", {**arguments, "max_wait": 0}))
        waiting_for = asyncio.create_task(
            client.call_tool("get_batch", {"batch_id": first["batch_id"]}, progress_callback=hear)
        )
        await one_done.wait()
        result = await client.call_tool("get_batch", {"batch_id": first["batch_id"], "wait": False})
        omni.release()
        last = told(await waiting_for)
    now = told(result)
    assert (now["status"], now["images_generated"], now["images_left"]) == ("running", 1, 2)
    first, *others = (each["status"] for each in now["results"])
    assert first == "success"
    assert set(others) <= {"waiting", "running"}
    assert [each.type for each in result.content] == ["text", "image", "resource_link"]
    assert (last["status"], last["images_generated"]) == ("success", 3)


async def test_a_finished_batch_is_returned_at_once(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        made = told(await client.call_tool("batch_generate", {"prompts": ["fox", "owl"], **SMALL}))
        again = told(await client.call_tool("get_batch", {"batch_id": made["batch_id"]}))
        resumed = told(await client.call_tool("get_batch", {"batch_id": made["batch_id"], "resume": True}))
    for each in (made, again, resumed):
        del each["total_time_seconds"]
    assert made == again == resumed
    assert len(omni.requests) == 2


async def test_only_failed_images_are_tried_again(connect: Connect, omni: "OmniServer") -> None:
    omni.failures["owl"] = (400, "no owls here")
    async with connect() as client:
        made = told(await client.call_tool("batch_generate", {"prompts": ["fox", "owl"], **SMALL}))
        assert made["status"] == "partial"
        omni.failures.clear()
        again = told(await client.call_tool("get_batch", {"batch_id": made["batch_id"], "resume": True}))
    assert (again["status"], again["images_generated"], again["images_failed"]) == ("success", 2, 0)
    assert again["results"][0]["file_path"] == made["results"][0]["file_path"]
    assert [request["prompt"] for request in omni.requests] == ["fox", "owl", "owl"]


async def test_batches_are_listed_newest_first_with_their_outcomes(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client, asyncio.timeout(60):
        done = told(await client.call_tool("batch_generate", {"prompts": ["fox", "owl"], **SMALL}))
        omni.hold_after(2)
        runs = told(await client.call_tool("generate_image", {"prompt": "hare", "max_wait": 0, **SMALL}))
        listed = told(await client.call_tool("list_batches"))["batches"]
        omni.release()
        await client.call_tool("get_batch", {"batch_id": runs["batch_id"]})
    assert [(each["batch_id"], each["status"], each["prompt"]) for each in listed] == [
        (runs["batch_id"], "running", "hare"),
        (done["batch_id"], "success", "fox"),
    ]
    assert [(each["images_total"], each["images_generated"], each["images_left"]) for each in listed] == [
        (1, 0, 1),
        (2, 2, 0),
    ]
    assert listed[0]["here"]


@pytest.mark.parametrize("name", ["batch_0", "", "../..", 7, None, ["batch_0"]])
async def test_a_batch_that_does_not_exist_is_reported_as_unknown(connect: Connect, name: object) -> None:
    async with connect() as client:
        result = await client.call_tool("get_batch", {"batch_id": name})
    assert result.is_error
    assert "is not known" in text(result)
    assert "list_batches" in text(result)


async def test_if_a_host_gives_up_on_a_call_unsent_requests_are_cancelled_and_sent_ones_kept(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(0)
    names: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        names.append((message or "").split(":")[0])

    async with connect() as client, asyncio.timeout(60):
        call = asyncio.create_task(
            client.call_tool(
                "batch_generate",
                {"prompts": ["fox", "owl", "hare"], "max_concurrent": 1, **SMALL},
                progress_callback=hear,
            )
        )
        await asyncio.to_thread(omni.wait_for, 1)
        call.cancel()
        await asyncio.wait([call])
        meanwhile = told(await client.call_tool("get_batch", {"batch_id": names[0], "wait": False}))
        omni.release()
        answer = told(await client.call_tool("get_batch", {"batch_id": names[0]}))
    assert meanwhile["status"] == "running"
    (note,) = meanwhile["notes"]
    assert "no more requests are sent" in note
    assert (answer["status"], answer["images_generated"], answer["images_cancelled"]) == ("cancelled", 1, 2)
    assert answer["notes"] == []
    assert [each["status"] for each in answer["results"]] == ["success", "cancelled", "cancelled"]
    assert [request["prompt"] for request in omni.requests] == ["fox"]
    assert files(tmp_path) == {answer["results"][0]["file_path"]}


async def test_a_batch_whose_server_is_unavailable_is_paused_and_says_why_in_the_words_of_this_program(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "TICK_SECONDS", 0.01)
    heard: list[str] = []
    paused = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")
        if "paused" in heard[-1]:
            paused.set()

    with contextlib.ExitStack() as away:
        url = away.enter_context(serve_in_thread())
        async with connect(vllm_url=url) as client, asyncio.timeout(60):
            await client.call_tool("get_model_info")
            await asyncio.to_thread(away.close)
            call = asyncio.create_task(
                client.call_tool("batch_generate", {"prompts": ["fox", "owl"]}, progress_callback=hear)
            )
            await paused.wait()
            name = heard[0].split(":")[0]
            answer = told(await client.call_tool("get_batch", {"batch_id": name, "wait": False}))
            await client.call_tool("cancel_batch", {"batch_id": name})
            await call
    assert (answer["status"], answer["images_left"]) == ("paused", 2)
    for words in (next(each for each in heard if "paused" in each), answer["notes"][0]):
        assert f"{url} cannot be reached" in words
        assert "correct --vllm-url" in words
    assert "continues by itself" in answer["notes"][1]


async def test_giving_up_on_a_wait_cancels_nothing(connect: Connect, omni: "OmniServer") -> None:
    omni.hold_after(0)
    async with connect() as client, asyncio.timeout(60):
        first = told(await client.call_tool("generate_image", {"prompt": "fox", "max_wait": 0, **SMALL}))
        await asyncio.to_thread(omni.wait_for, 1)
        call = asyncio.create_task(client.call_tool("get_batch", {"batch_id": first["batch_id"]}))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        omni.release()
        last = told(await client.call_tool("get_batch", {"batch_id": first["batch_id"]}))
    assert (last["status"], len(omni.requests)) == ("success", 1)


async def test_progress_comes_every_few_seconds_rises_and_says_what_is_left(
    connect: Connect, omni: "OmniServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "TICK_SECONDS", 0.01)
    omni.hold_after(1)
    heard: list[tuple[float, str]] = []
    enough = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message or ""))
        if sum(progress > 1 for progress, _ in heard) == 3:
            enough.set()

    async with connect() as client, asyncio.timeout(60):
        call = asyncio.create_task(
            client.call_tool(
                "batch_generate",
                {"prompts": ["fox", "owl", "hare"], "max_concurrent": 1, **SMALL},
                progress_callback=hear,
            )
        )
        await enough.wait()
        omni.release()
        told(await call)
    values = [progress for progress, _ in heard]
    assert values == sorted(set(values))
    assert heard[0][1].startswith("batch_")
    waiting_messages = [message for progress, message in heard if 1 < progress < 2]
    assert waiting_messages
    assert all("1 of 3, less than 1 s left (measured)" in message for message in waiting_messages)


async def test_while_a_slow_server_reports_its_model_progress_continues_to_rise(
    connect: Connect, omni: "OmniServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "TICK_SECONDS", 0.05)
    omni.hold_questions()
    heard: list[tuple[float, str]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message or ""))
        if len(heard) == 2:
            omni.release()

    async with connect() as client, asyncio.timeout(60):
        fox = {"prompt": "a red fox", **SMALL}
        told(await client.call_tool("generate_image", fox, progress_callback=hear))
    [name] = {message.partition(":")[0] for _, message in heard}
    assert name.startswith("batch_")
    waits = f"{name}: 0 of 1, waiting for the server to report its model"
    assert [message for _, message in heard[:2]] == [waits] * 2
    assert heard[-1] == (1, f"{name}: 1 of 1")
    values = [progress for progress, _ in heard]
    assert values == sorted(set(values))


@pytest.mark.parametrize("tool", ["generate_image", "batch_generate"])
async def test_a_server_that_never_reports_its_model_is_given_up_in_time_and_leaves_no_batch(
    connect: Connect, omni: "OmniServer", monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    monkeypatch.setattr(waiting, "BEGIN_SECONDS", 0.3)
    omni.hold_questions()
    asked = {"prompts": ["fox", "owl"]} if tool == "batch_generate" else {"prompt": "fox"}
    async with connect() as client, asyncio.timeout(60):
        refused = await client.call_tool(tool, {**asked, "max_wait": 0, **SMALL})
        assert refused.is_error
        assert text(refused) == (
            "The server did not report its model within 1 s, or the output folder is slow. Nothing was sent. "
            "Check with server_health, then call again; a longer max_wait allows more time."
        )
        omni.release()
        assert told(await client.call_tool("list_batches", {}))["batches"] == []
        assert told(await client.call_tool("generate_image", {"prompt": "hare", **SMALL}))["file_path"]
        listed = told(await client.call_tool("list_batches", {}))["batches"]
    assert [batch["prompt"] for batch in listed] == ["hare"]
    assert [request["prompt"] for request in omni.requests] == ["hare"]


async def test_a_host_that_is_slow_to_read_a_message_does_not_end_a_started_batch(
    connect: Connect, omni: "OmniServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "BEGIN_SECONDS", 1.5)
    omni.hold_questions()

    async def slow(progress: float, total: float | None, message: str | None) -> None:
        del progress, total
        if "waiting for the server" in (message or ""):
            omni.release()
            await asyncio.sleep(2.5)

    async with connect(max_wait="30") as client, asyncio.timeout(60):
        fox = {"prompt": "a red fox", "max_wait": 1, **SMALL}
        answer = told(await client.call_tool("generate_image", fox, progress_callback=slow))
        assert (
            told(await client.call_tool("get_batch", {"batch_id": answer["batch_id"]}))["status"] == "success"
        )
    assert len(omni.requests) == 1


async def test_the_wait_begins_with_the_call_and_not_with_the_batch(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float] = []
    begin = BatchTracker.begin

    async def timed(tracker: BatchTracker, batch: ImageBatch) -> BatchMonitor:
        times.append(asyncio.get_running_loop().time())
        return await begin(tracker, batch)

    async def asked(_: object, __: BatchMonitor, until: float, **___: object) -> None:
        times.append(until - 7)

    monkeypatch.setattr(BatchTracker, "begin", timed)
    monkeypatch.setattr(waiting, "wait_for_batch", asked)
    async with connect() as client, asyncio.timeout(60):
        await client.call_tool("generate_image", {"prompt": "fox", "max_wait": 7, **SMALL})
    begun, counted_from = times
    assert counted_from <= begun


async def test_an_invalid_wait_is_refused_before_anything_is_sent(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        result = await client.call_tool("generate_image", {"prompt": "fox", "max_wait": -1, **SMALL})
    assert result.is_error
    assert text(result).startswith("max_wait: -1 is not a valid time. Use a number of seconds")
    assert omni.requests == []
