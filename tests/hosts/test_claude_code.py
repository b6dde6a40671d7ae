"""The real Claude Code, offline: what its model would see of our tools and of their results."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from everyday_requests import FOXES, REQUESTS, SMALL, Place, fill
from PIL import Image
from vllm_image_core import BlockingStudio
from vllm_image_core.imaging.picture import Picture
from vllm_image_mcp.tools.registration import TOOLS

if TYPE_CHECKING:
    from conftest import ModelApi, Recorded

DEADLINE_SECONDS = 180.0
NAME = "images"


def step(tool: str, **arguments: object) -> dict[str, object]:
    return {"name": f"mcp__{NAME}__{tool}", "input": arguments}


def loaded(*tools: str) -> dict[str, object]:
    """The step in which Claude Code's model asks for the tools' schemas, which it is not given at first."""
    named = ",".join(f"mcp__{NAME}__{tool}" for tool in tools)
    return {"name": "ToolSearch", "input": {"query": f"select:{named}", "max_results": 20}}


def talk(claude: Path, server: "Recorded", model: "ModelApi", folder: Path, *, era: str) -> dict[str, Any]:
    """One conversation: Claude Code's own account of how it ended."""
    home = folder / "home"
    home.mkdir()
    hosts = folder / "mcp.json"
    command, *arguments = server.command
    hosts.write_text(json.dumps({"mcpServers": {NAME: {"command": command, "args": arguments}}}), "utf-8")
    closed = "http://127.0.0.1:9"
    done = subprocess.run(
        [
            str(claude),
            *("-p", "Make a picture of a fox.", "--output-format", "json"),
            *("--mcp-config", str(hosts), "--strict-mcp-config", "--allowedTools", f"mcp__{NAME},ToolSearch"),
        ],
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home),
            "ANTHROPIC_BASE_URL": model.url,
            "ANTHROPIC_API_KEY": "no-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "MCP_PROTOCOL_NEGOTIATION": era,
            "MCP_TIMEOUT": "60000",
            "MCP_CONNECT_TIMEOUT_MS": "60000",
            "HTTPS_PROXY": closed,
            "HTTP_PROXY": closed,
            "NO_PROXY": "127.0.0.1",
        },
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def seen(model: "ModelApi") -> dict[str, Sequence[Mapping[str, Any]]]:
    """What the model was sent as the result of each tool; of several calls of one, the last."""
    messages = model.requests()[-1]["messages"]
    blocks = [block for message in messages for block in parts(message["content"])]
    names = {block["id"]: block["name"] for block in blocks if block["type"] == "tool_use"}
    return {
        names[block["tool_use_id"]].removeprefix(f"mcp__{NAME}__"): parts(block["content"])
        for block in blocks
        if block["type"] == "tool_result"
    }


def outcomes(model: "ModelApi") -> list[tuple[str, bool, str]]:
    """Each result of a tool that the model was sent: the tool, whether it is an error, and its text."""
    blocks = [block for message in model.requests()[-1]["messages"] for block in parts(message["content"])]
    names = {block["id"]: block["name"] for block in blocks if block["type"] == "tool_use"}
    return [
        (
            names[block["tool_use_id"]].removeprefix(f"mcp__{NAME}__"),
            bool(block.get("is_error")),
            " ".join(part["text"] for part in parts(block["content"]) if part["type"] == "text"),
        )
        for block in blocks
        if block["type"] == "tool_result"
    ]


def parts(content: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - Claude Code writes either form
    """Content blocks, even if a text stands for the only one."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def told(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON object among the texts of a result."""
    (found,) = (each["text"] for each in blocks if each["type"] == "text" and each["text"].startswith("{"))
    return json.loads(found)


def assert_seen(blocks: Sequence[Mapping[str, Any]], *, pictures: int, links: Sequence[str]) -> None:
    """The model sees this many complete images, and each link with its address."""
    shown = [block["source"] for block in blocks if block["type"] == "image"]
    assert len(shown) == pictures
    for source in shown:
        picture = Picture.check(base64.b64decode(source["data"]))
        assert source["media_type"] == f"image/{picture.format}"
        assert max(picture.width, picture.height) >= 64
    texts = "\n".join(block["text"] for block in blocks if block["type"] == "text")
    for link in links:
        assert re.search(rf"\[Resource link: .*\] {re.escape(link)}", texts), texts


Start = Callable[[Sequence[Mapping[str, Any]]], "ModelApi"]


@pytest.mark.parametrize("era", ["auto", "legacy"])
def test_claude_code_generates_images_and_its_model_sees_everything(
    claude: Path, server: "Recorded", model_api: Start, tmp_path: Path, era: str
) -> None:
    edits = any(tool.__name__ == "edit_image" for tool, *_ in TOOLS)
    edit = step("edit_image", prompt="make it night", images=["$file_path"], seed=8)
    model = model_api(
        [
            loaded("generate_image", "batch_generate", "get_batch", *(["edit_image"] if edits else [])),
            step("generate_image", prompt="a red fox in the snow", width=128, height=96, seed=7),
            *([edit] if edits else []),
            step("batch_generate", prompts=["a hill at dawn", "a hill at dusk"], width=96, height=96),
            step("get_batch", batch_id="$batch_id"),
        ]
    )

    outcome = talk(claude, server, model, tmp_path, era=era)

    assert outcome["result"] == "That is all."
    assert outcome["permission_denials"] == []
    results = seen(model)
    picture = told(results["generate_image"])
    assert Path(picture["file_path"]).is_file()
    assert picture["parameters_used"]["seed"] == 7
    assert_seen(results["generate_image"], pictures=1, links=[picture["uri"]])
    if edits:
        edited = told(results["edit_image"])
        assert edited["inputs"] == [Path(picture["file_path"]).name]
        assert_seen(results["edit_image"], pictures=1, links=[edited["uri"]])
    batch = told(results["batch_generate"])
    assert [each["status"] for each in batch["results"]] == ["success", "success"]
    assert_seen(results["batch_generate"], pictures=1, links=[each["uri"] for each in batch["results"]])
    got = told(results["get_batch"])
    assert got["results"] == batch["results"]
    assert_seen(results["get_batch"], pictures=1, links=[each["uri"] for each in batch["results"]])
    assert server.faults() == []
    assert server.versions() <= {"2025-11-25" if era == "legacy" else "2026-07-28"}


@pytest.fixture
def place(simulator_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("OMNI_URL", simulator_url)
    photo = tmp_path / "photos" / "lake.jpg"
    photo.parent.mkdir()
    Image.new("RGB", (96, 64), "teal").save(photo)
    with BlockingStudio(simulator_url, output_dir=tmp_path / "pictures") as studio:
        batch = studio.batch("a fox", count=FOXES, **SMALL)
        batch.wait()
        first = studio.generate("a red fox", seed=1, filename="first", **SMALL)
    return Place(first=first.path, photo=photo, batch=batch.id)


def test_everyday_requests_are_fulfilled(
    claude: Path, serve: Callable[..., "Recorded"], model_api: Start, place: Place, tmp_path: Path
) -> None:
    asked = [request for request in REQUESTS if request.tools]
    calls = [(request, tool, fill(given, place)) for request in asked for tool, given in request.tools]
    tools = loaded(*{tool for _, tool, _ in calls})
    model = model_api([tools, *(step(tool, **given) for _, tool, given in calls)])
    server, before = serve(tmp_path, "--allow-dir", str(place.photo.parent)), count_images(place)

    outcome = talk(claude, server, model, tmp_path, era="auto")

    assert outcome["result"] == "That is all."
    _, *results = outcomes(model)
    for (request, tool, _), (called, is_error, text) in zip(calls, results, strict=True):
        assert (called, is_error) == (tool, request.refused), f"{request.words}: {text}"
    assert count_images(place) - before == sum(request.images for request in asked)
    assert server.faults() == []


def count_images(place: Place) -> int:
    return len(list(place.first.parent.glob("*.*")))
