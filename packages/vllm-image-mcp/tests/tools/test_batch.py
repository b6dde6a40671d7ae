"""Batches through an MCP client: their limits, their progress, and how they are cancelled."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from mcp import Client
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, TextContent
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.batch import generate_many

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

DEADLINE_SECONDS = 60.0
SMALL = {"width": 64, "height": 64}


def text(result: CallToolResult) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    return content.text


async def batch(client: Client, prompts: object, **arguments: object) -> CallToolResult:
    return await client.call_tool("batch_generate", {"prompts": prompts, **SMALL, **arguments})


async def answer(client: Client, prompts: object, **arguments: object) -> dict[str, Any]:
    result = await batch(client, prompts, **arguments)
    assert result.structured_content, text(result)
    return result.structured_content


@pytest.mark.parametrize("count", [1, 20])
async def test_one_to_twenty_prompts_give_as_many_images(
    connect: Connect, omni: "OmniServer", tmp_path: Path, count: int
) -> None:
    prompts = [f"fox {number}" for number in range(count)]
    async with connect() as client:
        told = await answer(client, prompts, max_concurrent=2)
    assert (told["status"], told["images_generated"], told["images_failed"]) == ("success", count, 0)
    assert [(each["index"], each["prompt"]) for each in told["results"]] == list(enumerate(prompts))
    assert {each["file_path"] for each in told["results"]} == {str(path) for path in tmp_path.glob("*.png")}
    assert len(omni.requests) == count


@pytest.mark.parametrize("count", [0, 21])
async def test_no_prompt_and_more_than_twenty_are_refused(
    connect: Connect, omni: "OmniServer", count: int
) -> None:
    async with connect() as client:
        result = await batch(client, ["fox"] * count)
    assert result.is_error
    assert text(result).startswith(f"prompts has {count} entries; a batch takes 1 to 20.")
    assert omni.requests == []


@pytest.mark.parametrize("seeds", [[], [1], [1, 2, 3]])
async def test_seeds_must_match_the_number_of_prompts(
    connect: Connect, omni: "OmniServer", seeds: list[int]
) -> None:
    async with connect() as client:
        result = await batch(client, ["fox", "owl"], seeds=seeds)
    assert result.is_error
    assert text(result).startswith(f"seeds has {len(seeds)} entries for 2 prompts.")
    assert omni.requests == []


async def test_each_prompt_is_sent_with_its_seed(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        told = await answer(client, ["fox", "owl"], seeds=[7, 8], max_concurrent=1)
    assert [(sent["prompt"], sent["seed"]) for sent in omni.requests] == [("fox", 7), ("owl", 8)]
    assert [each["seed"] for each in told["results"]] == [7, 8]


async def test_the_shared_settings_are_sent_with_every_prompt(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        await client.call_tool(
            "batch_generate",
            {
                "prompts": ["fox", "owl"],
                "aspect_ratio": "1:1",
                "num_inference_steps": 2,
                "guidance_scale": 0.5,
            },
        )
    assert [
        (sent["size"], sent["num_inference_steps"], sent["guidance_scale"], sent["n"])
        for sent in omni.requests
    ] == [("1024x1024", 2, 0.5, 1)] * 2


async def test_the_same_prompt_twenty_times_in_a_second_gives_twenty_files(
    connect: Connect, tmp_path: Path
) -> None:
    async with connect() as client:
        told = await answer(client, ["a red fox"] * 20, max_concurrent=4)
    paths = [each["file_path"] for each in told["results"]]
    assert len(set(paths)) == 20
    assert {str(path) for path in tmp_path.glob("*.png")} == set(paths)


async def test_one_failure_does_not_stop_the_others(connect: Connect, omni: "OmniServer") -> None:
    omni.failures["owl"] = (400, "no owls here")
    async with connect() as client:
        result = await batch(client, ["fox", "owl", "hare"])
    told = result.structured_content
    assert told
    assert (result.is_error, told["status"]) == (False, "partial")
    assert (told["images_generated"], told["images_failed"], told["images_cancelled"]) == (2, 1, 0)
    assert [each["status"] for each in told["results"]] == ["success", "failed", "success"]
    failed = told["results"][1]
    assert (failed["file_path"], failed["generation_time_seconds"]) == (None, None)
    assert "no owls here" in failed["error"]


async def test_a_batch_without_any_image_is_an_error_and_lists_each_failure(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.failures["owl"] = (400, "no owls here")
    async with connect() as client:
        result = await batch(client, ["owl", "owl"])
    told = result.structured_content
    assert told
    assert (result.is_error, told["status"], told["images_failed"]) == (True, "failed", 2)


async def test_one_bad_entry_is_named_and_nothing_is_sent(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        result = await batch(client, ["fox", ""])
    assert result.is_error
    assert "The prompt is empty." in text(result)
    assert "entry 1 of the batch" in text(result)
    assert omni.requests == []


@pytest.mark.parametrize(("gb", "at_once"), [("13", 1), ("18", 1), ("20", 2), ("22", 3), ("80", 4)])
async def test_as_many_run_at_once_as_the_rule_of_the_plan_allows(
    connect: Connect, gb: str, at_once: int
) -> None:
    async with connect(gpu_vram_gb=gb) as client:
        told = await answer(client, ["fox"])
    assert told["max_concurrent"] == at_once


async def test_the_concurrency_of_the_call_overrides_the_option_which_overrides_the_gpu(
    connect: Connect,
) -> None:
    async with connect(gpu_vram_gb="80", max_concurrent="3") as client:
        assert (await answer(client, ["fox"]))["max_concurrent"] == 3
        assert (await answer(client, ["fox"], max_concurrent=2))["max_concurrent"] == 2


async def test_no_more_are_in_progress_than_requested(connect: Connect, omni: "OmniServer") -> None:
    omni.hold_after(0)
    async with connect() as client, asyncio.timeout(60):
        call = asyncio.create_task(batch(client, ["fox"] * 6, max_concurrent=2))
        await asyncio.to_thread(omni.wait_for, 2)
        omni.release()
        assert (await call).structured_content
    assert (omni.most_at_once, len(omni.requests)) == (2, 6)


async def test_progress_is_reported_for_every_image_and_names_the_batch_from_the_first_message_on(
    connect: Connect,
) -> None:
    heard: list[tuple[float, float | None, str]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message or ""))

    async with connect() as client:
        result = await client.call_tool(
            "batch_generate",
            {"prompts": ["fox", "owl", "hare"], "max_concurrent": 1, **SMALL},
            progress_callback=hear,
        )
    told = result.structured_content
    assert told
    assert [(progress, total) for progress, total, _ in heard] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert {message.split(":")[0] for _, _, message in heard} == {told["batch_id"]}


async def test_progress_rises_by_one_with_each_image_even_if_all_are_saved_before_the_first_message(
    tmp_path: Path,
) -> None:
    state = State(Settings.from_arguments(demo=True, output_dir=tmp_path))
    heard: list[tuple[float, float]] = []

    async def slow_host(progress: float, total: float, message: str) -> None:
        heard.append((progress, total))
        (monitor,) = state.tracker._monitors.values()
        while monitor.ended_count < 4:
            await monitor.wait_for_change(DEADLINE_SECONDS)

    request_context = SimpleNamespace(lifespan_context=state, meta=None, request=None)
    context = SimpleNamespace(
        request_context=request_context,
        report_progress=slow_host,
        session=SimpleNamespace(client_params=None),
    )
    requests = [ImageRequest(prompt=name, width=64, height=64) for name in ("fox", "owl", "hare", "elk")]
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(state):
        told = await generate_many(
            cast("Context[State]", context), requests, agreed=True, max_concurrent=None, max_wait=None
        )
    assert told.structured_content
    assert told.structured_content["images_generated"] == 4
    assert heard == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


async def test_a_running_batch_is_cancelled_by_the_id_of_its_first_message(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(2)
    ids: list[str] = []
    two_done = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        ids.append((message or "").split(":")[0])
        if progress == 2:
            two_done.set()

    async with connect() as client, asyncio.timeout(60):
        call = asyncio.create_task(
            client.call_tool(
                "batch_generate",
                {"prompts": ["fox", "owl", "hare", "lynx"], "max_concurrent": 1, **SMALL},
                progress_callback=hear,
            )
        )
        await two_done.wait()
        cancelled = (await client.call_tool("cancel_batch", {"batch_id": ids[0]})).structured_content
        told = (await call).structured_content

    assert cancelled
    assert told
    files = cancelled.pop("files_saved")
    assert cancelled == {
        "batch_id": ids[0],
        "status": "cancelled",
        "completed": 2,
        "cancelled": 2,
        "failed": 0,
        "notes": ["An image in progress may still finish on the GPU; it is not saved."],
    }
    assert {str(path) for path in tmp_path.glob("*.png")} == set(files)
    assert (told["status"], told["batch_id"]) == ("cancelled", ids[0])
    assert (told["images_generated"], told["images_cancelled"]) == (2, 2)
    assert [each["status"] for each in told["results"]] == ["success", "success", "cancelled", "cancelled"]
    assert [each["file_path"] for each in told["results"][:2]] == files


async def test_a_batch_can_be_cancelled_at_its_first_message(connect: Connect, omni: "OmniServer") -> None:
    omni.hold_after(0)
    ids: list[str] = []
    began = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        ids.append((message or "").split(":")[0])
        began.set()

    async with connect() as client, asyncio.timeout(60):
        call = asyncio.create_task(
            client.call_tool("batch_generate", {"prompts": ["fox", "owl"], **SMALL}, progress_callback=hear)
        )
        await began.wait()
        cancelled = (await client.call_tool("cancel_batch", {"batch_id": ids[0]})).structured_content
        told = (await call).structured_content
    assert cancelled
    assert told
    assert (cancelled["completed"], cancelled["cancelled"], cancelled["files_saved"]) == (0, 2, [])
    assert (told["status"], told["images_generated"], told["images_cancelled"]) == ("cancelled", 0, 2)


async def test_a_batch_whose_call_the_host_abandoned_is_cancelled_and_still_known(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.hold_after(1)
    ids: list[str] = []
    one_done = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        ids.append((message or "").split(":")[0])
        if progress == 1:
            one_done.set()

    async with connect() as client, asyncio.timeout(60):
        call = asyncio.create_task(
            client.call_tool(
                "batch_generate",
                {"prompts": ["fox", "owl", "hare"], "max_concurrent": 1, **SMALL},
                progress_callback=hear,
            )
        )
        await one_done.wait()
        call.cancel()
        await asyncio.wait([call])
        told = (await client.call_tool("cancel_batch", {"batch_id": ids[0]})).structured_content
    assert told
    assert (told["status"], told["completed"], told["cancelled"]) == ("cancelled", 1, 2)


async def test_cancelling_a_batch_that_has_ended_says_what_it_generated(
    connect: Connect, tmp_path: Path
) -> None:
    async with connect() as client:
        made = await answer(client, ["fox", "owl"])
        told = (await client.call_tool("cancel_batch", {"batch_id": made["batch_id"]})).structured_content
    assert told
    assert sorted(told.pop("files_saved")) == sorted(str(path) for path in tmp_path.glob("*.png"))
    assert told == {
        "batch_id": made["batch_id"],
        "status": "completed",
        "completed": 2,
        "cancelled": 0,
        "failed": 0,
        "notes": [],
    }


@pytest.mark.parametrize("name", ["batch_0", "", "../..", "x" * 100_000])
async def test_a_batch_that_does_not_exist_cannot_be_cancelled(connect: Connect, name: str) -> None:
    async with connect() as client:
        result = await client.call_tool("cancel_batch", {"batch_id": name})
    assert result.is_error
    assert "is not known here. Use the batch_id that batch_generate returned." in text(result)
    assert len(text(result)) < 300


async def test_an_image_whose_file_was_removed_is_reported_and_generated_again_on_request(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        made = await answer(client, ["a fox", "an owl"])
        Path(made["results"][0]["file_path"]).unlink()
        name = made["batch_id"]
        found = (await client.call_tool("get_batch", {"batch_id": name})).structured_content
        again = (await client.call_tool("get_batch", {"batch_id": name, "resume": True})).structured_content
    assert found
    assert again
    assert (found["status"], found["images_generated"], found["images_failed"]) == ("partial", 1, 1)
    assert found["results"][0]["status"] == "failed"
    assert "its file has been removed" in found["results"][0]["error"]
    assert (again["status"], again["images_generated"]) == ("success", 2)
    assert len(omni.requests) == 3


async def test_three_prompts_four_seeds_and_three_values_take_few_arguments_and_are_one_batch(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.runs("Qwen/Qwen-Image")
    arguments = {
        "prompts": ["a fox", "an owl", "a bear"],
        "sweep": {"seed": [1, 2, 3, 4], "guidance_scale": [3, 4, 5]},
        **SMALL,
    }
    assert len(json.dumps(arguments)) <= 300
    async with connect() as client:
        planned = await client.call_tool("batch_generate", {**arguments, "dry_run": True})
        assert omni.requests == []
        made = await client.call_tool("batch_generate", arguments)
        assert made.structured_content
        others = {"batch_id": made.structured_content["batch_id"], "limit": 20, "offset": 20}
        rest = await client.call_tool("find_images", others)
    plan = planned.structured_content
    assert plan
    assert (plan["status"], plan["images_left"], plan["batch_id"]) == ("dry_run", 36, "")
    assert re.search(r"36 images, about .* of disk space in ", plan["notes"][-2])
    assert (made.structured_content["images_generated"], len(omni.requests)) == (36, 36)
    assert len(made.structured_content["results"]) == 20
    assert "16 more images are not listed" in made.structured_content["notes"][-1]
    assert rest.structured_content
    assert len(rest.structured_content["images"]) == 16


async def test_prompts_may_have_their_own_settings_however_a_host_writes_them(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    prompts = [
        {"prompt": "a fox", "size": "128x64", "seed": "7", "steps": 8.0, "filename": "fox"},
        '{"prompt": "an owl", "seed": -1, "count": "2"}',
        "a bear",
    ]
    async with connect() as client:
        told = await answer(client, prompts, width=64, height=64, output_format="webp", filename="rest")
    assert [each["status"] for each in told["results"]] == ["success"] * 4
    sizes = {sent["prompt"]: (sent["size"], sent["num_inference_steps"]) for sent in omni.requests}
    assert sizes == {"a fox": ("128x64", 8), "an owl": ("64x64", 4), "a bear": ("64x64", 4)}
    files = [Path(each["file_path"]).name for each in told["results"]]
    assert files == ["fox.webp", "rest_1.webp", "rest_2.webp", "rest_3.webp"]
    assert any("seed -1 means a random seed" in note for note in told["notes"])


async def test_a_request_for_more_than_a_thousand_images_is_refused(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        result = await batch(client, ["a fox"] * 20, count=51)
    assert result.is_error
    assert text(result).startswith("The prompts ask for 1020 images in all; a batch takes at most 1000.")
    assert omni.requests == []


async def test_wildcards_are_expanded_only_if_requested(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        await batch(client, ["a {red|blue} fox"])
        await batch(client, ["a {red|blue} fox"], wildcards=True)
    assert sorted(sent["prompt"] for sent in omni.requests) == ["a blue fox", "a red fox", "a {red|blue} fox"]
