"""A server that ends in the middle of work, and its successor: nothing is lost or generated twice."""

import contextlib
import io
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import OmniServer, StdioServer

Spawn = Callable[..., "StdioServer"]

SMALL = {"width": 64, "height": 64}
PROMPTS = ["fox", "owl", "hare", "lynx", "elk"]


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (128, 96), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def started(spawn: Spawn, omni: "OmniServer", tmp_path: Path) -> Callable[..., "StdioServer"]:
    """Start a server on the same folder, as often as a test wants."""

    def start(*arguments: str) -> "StdioServer":
        server = spawn("--vllm-url", omni.url, "--output-dir", str(tmp_path), *arguments)
        server.initialize()
        return server

    return start


def told(result: dict[str, Any]) -> dict[str, Any]:
    assert not result["isError"], result
    return result["structuredContent"]


def begun(server: "StdioServer", omni: "OmniServer") -> str:
    """A batch of five of which two are done and the third is in progress."""
    omni.hold_after(2)
    answer = told(server.call("batch_generate", prompts=PROMPTS, max_concurrent=1, max_wait=0, **SMALL))
    omni.wait_for(3)
    return answer["batch_id"]


def cut_off(server: "StdioServer", omni: "OmniServer") -> str:
    """The same batch, whose server is killed then."""
    name = begun(server, omni)
    server.process.kill()
    server.wait()
    omni.release()
    return name


def told_of_two(server: "StdioServer", name: str) -> dict[str, Any]:
    """What another process's server reports once the two are in the journal, which is within a second."""
    until = time.monotonic() + 30
    while True:
        seen = told(server.call("get_batch", batch_id=name, max_wait=0))
        if seen["images_generated"] == 2 or time.monotonic() > until:
            return seen
        time.sleep(0.05)


def asked_for(omni: "OmniServer") -> list[str]:
    return [request["prompt"] for request in omni.requests]


def test_a_batch_of_a_killed_server_is_reported_as_interrupted_and_resumed_on_request(
    started: Callable[..., "StdioServer"], omni: "OmniServer", tmp_path: Path
) -> None:
    name = cut_off(started(), omni)

    second = started()
    cut = told(second.call("get_batch", batch_id=name))
    assert (cut["status"], cut["images_generated"], cut["images_left"]) == ("interrupted", 2, 3)
    assert [each["status"] for each in cut["results"]] == [
        "success",
        "success",
        "waiting",
        "waiting",
        "waiting",
    ]
    assert "resume=true" in cut["notes"][-1]
    assert cut["parameters"]["num_inference_steps"] == 4
    (listed,) = told(second.call("list_batches"))["batches"]
    assert (listed["batch_id"], listed["status"], listed["here"]) == (name, "interrupted", False)

    whole = told(second.call("get_batch", batch_id=name, resume=True))
    assert (whole["status"], whole["images_generated"], whole["images_left"]) == ("success", 5, 0)
    assert whole["results"][:2] == [{**each, "parameters": {}} for each in cut["results"][:2]]
    assert second.end() == 0
    # The third was in progress when the server was killed: nobody but the GPU has seen that image.
    assert sorted(asked_for(omni)) == sorted([*PROMPTS, "hare"])
    assert {each["file_path"] for each in whole["results"]} == {str(path) for path in tmp_path.glob("*.png")}


def test_a_batch_resumed_with_another_model_says_that_two_were_used(
    started: Callable[..., "StdioServer"], omni: "OmniServer"
) -> None:
    omni.runs("Tongyi-MAI/Z-Image-Turbo")
    name = cut_off(started(), omni)
    omni.runs("Qwen/Qwen-Image")

    second = started()
    assert told(second.call("get_batch", batch_id=name))["model"] == "Tongyi-MAI/Z-Image-Turbo"
    whole = told(second.call("get_batch", batch_id=name, resume=True))
    assert (whole["status"], whole["images_generated"], whole["model"]) == ("success", 5, None)
    told_so = (
        "Made by 2 models: Qwen/Qwen-Image, Tongyi-MAI/Z-Image-Turbo. find_images shows each image's model."
    )
    assert told_so in whole["notes"]
    found = told(second.call("find_images"))["images"]
    assert [image["model"] for image in found] == ["Qwen/Qwen-Image"] * 3 + ["Tongyi-MAI/Z-Image-Turbo"] * 2


def test_an_image_saved_before_the_crash_counts_in_the_list_as_in_the_batch(
    started: Callable[..., "StdioServer"], omni: "OmniServer", tmp_path: Path
) -> None:
    name = cut_off(started(), omni)
    (journal,) = tmp_path.rglob("batches.sqlite3")
    with contextlib.closing(sqlite3.connect(journal)) as database, database:
        database.execute("DELETE FROM outcome")
        database.execute("UPDATE batch SET done = 0")

    second = started()
    (listed,) = told(second.call("list_batches"))["batches"]
    cut = told(second.call("get_batch", batch_id=name))
    assert (listed["images_generated"], listed["images_left"]) == (2, 3)
    assert (cut["images_generated"], cut["images_left"]) == (2, 3)
    assert second.end() == 0


def test_an_edit_of_a_killed_server_continues_with_its_original_images(
    started: Callable[..., "StdioServer"], omni: "OmniServer", tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    given = {name: png(colour) for name, colour in (("fox.png", "#cc6600"), ("mask.png", "#ffffff"))}
    for name, content in given.items():
        (photos / name).write_bytes(content)
    first = started("--allow-dir", str(photos))
    omni.hold_after(0)
    answer = told(
        first.call(
            "edit_image",
            prompt="make it night",
            images=[str(photos / "fox.png")],
            mask=str(photos / "mask.png"),
            strength=0.5,
            max_wait=0,
        )
    )
    assert answer["status"] == "running"
    omni.wait_for(1)
    first.process.kill()
    first.wait()
    for name in given:
        (photos / name).unlink()
    omni.release()

    second = started()
    cut = told(second.call("get_batch", batch_id=answer["batch_id"]))
    assert (cut["status"], cut["images_left"]) == ("interrupted", 1)
    whole = told(second.call("get_batch", batch_id=answer["batch_id"], resume=True))
    (image,) = whole["results"]
    assert (whole["status"], image["prompt"], second.end()) == ("success", "make it night", 0)
    assert Path(image["file_path"]).parent == tmp_path
    before, after = omni.requests
    assert before == after
    assert (after["image"], after["mask_image"], after["strength"]) == (
        [given["fox.png"]],
        [given["mask.png"]],
        "0.5",
    )


def test_a_server_with_resume_continues_its_batches_at_startup(
    started: Callable[..., "StdioServer"], omni: "OmniServer", tmp_path: Path
) -> None:
    first = started()
    name = begun(first, omni)
    first.end()
    omni.release()

    second = started("--resume")
    omni.wait_for(6)
    answer = told(second.call("get_batch", batch_id=name))
    while answer["status"] in {"running", "interrupted"}:
        answer = told(second.call("get_batch", batch_id=name))
    assert (answer["status"], answer["images_generated"]) == ("success", 5)
    assert second.end() == 0
    assert sorted(asked_for(omni)) == sorted([*PROMPTS, "hare"])
    assert len(list(tmp_path.glob("*.png"))) == 5


def test_p05_a_host_that_goes_away_ends_the_server_and_its_batch_can_be_resumed(
    started: Callable[..., "StdioServer"], omni: "OmniServer"
) -> None:
    first = started()
    omni.hold_after(2)
    arguments = json.dumps({"prompts": PROMPTS, "max_concurrent": 1, **SMALL})
    params = f'{{"name": "batch_generate", "arguments": {arguments}}}'
    first.send(f'{{"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": {params}}}')
    omni.wait_for(3)
    assert first.end() == 0
    assert "Traceback" not in first.errors
    omni.release()

    second = started()
    (listed,) = told(second.call("list_batches"))["batches"]
    assert (listed["status"], listed["images_generated"], listed["images_left"]) == ("interrupted", 2, 3)
    whole = told(second.call("get_batch", batch_id=listed["batch_id"], resume=True))
    assert (whole["status"], whole["images_generated"]) == ("success", 5)
    assert sorted(asked_for(omni)) == sorted([*PROMPTS, "hare"])


def test_a_batch_of_another_process_is_reported_waited_for_and_cancelled(
    started: Callable[..., "StdioServer"], omni: "OmniServer"
) -> None:
    one, other = started(), started()
    name = begun(one, omni)
    seen = told_of_two(other, name)
    assert (seen["status"], seen["results"][0]["status"]) == ("running", "success")
    refused = other.call("get_batch", batch_id=name, resume=True, wait=False)
    assert told(refused)["status"] == "running"
    answer = told(other.call("cancel_batch", batch_id=name))
    assert (answer["status"], answer["completed"], answer["cancelled"]) == ("cancelled", 2, 3)
    omni.release()
    last = told(one.call("get_batch", batch_id=name))
    assert (last["status"], last["images_generated"]) == ("cancelled", 2)
    assert (one.end(), other.end()) == (0, 0)
    assert asked_for(omni) == ["fox", "owl", "hare"]


def test_p06_what_others_print_does_not_reach_the_host(
    spawn: Spawn, omni: "OmniServer", tmp_path: Path
) -> None:
    noisy = tmp_path / "noisy"
    noisy.mkdir()
    (noisy / "sitecustomize.py").write_text(
        "import os, threading\n"
        "def shout():\n"
        "    os.write(1, b'a library writes to file descriptor 1\\n')\n"
        "    print('and prints', flush=True)\n"
        "from vllm_image_mcp.tools import generate\n"
        "quiet = generate.generate_one\n"
        "async def loud(*args, **kwargs):\n"
        "    shout()\n"
        "    threading.Thread(target=shout).start()\n"
        "    return await quiet(*args, **kwargs)\n"
        "generate.generate_one = loud\n"
    )
    server = spawn(
        *("--vllm-url", omni.url, "--output-dir", str(tmp_path / "pictures")), env={"PYTHONPATH": str(noisy)}
    )
    server.initialize()
    assert told(server.call("generate_image", prompt="fox", **SMALL))["status"] == "success"
    assert told(server.call("server_health"))["status"] == "healthy"
    assert server.end() == 0
    assert {json.loads(line)["jsonrpc"] for line in server.lines} == {"2.0"}
    assert server.errors.count("a library writes to file descriptor 1") == 2
