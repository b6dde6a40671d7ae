"""The gallery in the window of a host: a headless Chromium, with our real server behind it.

The images of it are kept in the folder that HOSTS_SHOTS names, to be looked at.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

if TYPE_CHECKING:
    from conftest import Node, Recorded, Wire

SCHEMA = "node_modules/@modelcontextprotocol/ext-apps/dist/src/generated/schema.json"
APPS = {
    "ui/initialize": "McpUiInitializeRequest",
    "ui/message": "McpUiMessageRequest",
    "ui/update-model-context": "McpUiUpdateModelContextRequest",
    "ui/notifications/initialized": "McpUiInitializedNotification",
    "ui/notifications/size-changed": "McpUiSizeChangedNotification",
}
PLAIN = {"resources/read", "tools/call"}
ROUNDS = ("full", "narrow", "partial", "running")


@pytest.fixture(scope="module")
def told(
    node: "Node",
    wire: "Wire",
    browser: Mapping[str, str],
    serve: Any,  # noqa: ANN401 - a fixture that makes servers
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What was seen in four windows."""
    folder = tmp_path_factory.mktemp("gallery")
    server: Recorded = serve(folder)
    shots = os.environ.get("HOSTS_SHOTS", str(folder / "shots"))
    unpacked = folder / "browser"
    unpacked.mkdir()
    env = {**browser, "TMPDIR": str(unpacked)}
    seen = json.loads(node.run("gallery.mjs", shots, *server.command, env=env))
    assert server.faults() == []
    return seen


def test_nothing_is_requested_from_elsewhere_and_no_error_is_logged(told: Mapping[str, Any]) -> None:
    assert [told[each]["outside"] for each in ROUNDS] == [[], [], [], []]
    assert [told[each]["complaints"] for each in ROUNDS] == [[], [], [], []]


def test_every_message_of_the_page_fits_the_schema_of_apps(told: Mapping[str, Any], node: "Node") -> None:
    schema = json.loads(node.packages.joinpath(SCHEMA).read_text("utf-8"))
    said = [message for each in ROUNDS for message in told[each]["messages"] if "method" in message]

    for message in said:
        if message["method"] not in PLAIN:
            body = {name: value for name, value in message.items() if name not in ("id", "jsonrpc")}
            definition = {"$ref": f"#/$defs/{APPS[message['method']]}", "$defs": schema["$defs"]}
            jsonschema.validate(body, definition)
    first = [message["method"] for message in told["full"]["messages"]][:2]
    assert first == ["ui/initialize", "ui/notifications/initialized"]
    assert {message["method"] for message in said} == APPS.keys() | PLAIN


def test_the_images_of_a_batch_are_shown_with_their_prompts_as_text(told: Mapping[str, Any]) -> None:
    assert told["status"].startswith("6 images · ")
    assert told["captions"][1] == "a red fox in the snow"
    assert told["captions"][2] == "<img src=https://outside.test/a.png onerror=alert(1)> written as text"


def test_every_image_is_reached_with_the_keyboard(told: Mapping[str, Any]) -> None:
    assert told["first"].startswith("Enlarge image 0: ")
    assert told["second"].startswith("Enlarge image 1: ")
    assert told["below"].startswith("Enlarge image 5: ")
    assert told["last"].startswith("Enlarge image 5: ")
    assert told["back"].startswith("Enlarge image 2: ")


def test_an_image_is_picked_and_the_assistant_learns_which(told: Mapping[str, Any]) -> None:
    assert told["pickedByKey"] == ["a red fox in the snow"]
    assert told["dialogAfterSpace"] is False
    (context,) = [
        message["params"]
        for message in told["full"]["messages"]
        if message["method"] == "ui/update-model-context"
    ]
    (picked,) = context["structuredContent"]["picked"]
    assert (picked["number"], picked["seed"]) == (1, 2)
    assert Path(picked["file_path"]).name in context["content"][0]["text"]


def test_an_image_is_enlarged_with_its_parameters(told: Mapping[str, Any]) -> None:
    assert told["enlarged"] == "Image 1"
    assert told["facts"]["Size"] == "384 × 256"  # noqa: RUF001 - the sign of a size
    assert told["facts"]["Seed"] == "2"
    assert told["turned"] == "Image 2"


def test_parameters_are_copied_as_a_tool_accepts_them(told: Mapping[str, Any]) -> None:
    copied = json.loads(told["copied"])

    assert copied["prompt"] == told["captions"][2]
    assert (copied["seed"], copied["width"], copied["height"]) == (3, 384, 256)
    assert {"model", "num_inference_steps", "guidance_scale"} < copied.keys()


def test_the_assistant_is_asked_for_more_like_it(told: Mapping[str, Any]) -> None:
    assert told["asked"].startswith("Generate 4 more images like this one, ")
    assert '"width":384' in told["asked"]
    assert '"seed"' not in told["asked"]


def test_if_the_assistant_cannot_be_asked_the_server_generates_more(told: Mapping[str, Any]) -> None:
    assert len(told["grown"]) == 10
    assert set(told["grown"][6:]) == {"a red fox in the snow"}


def test_an_incomplete_batch_has_empty_cells(told: Mapping[str, Any]) -> None:
    assert told["runningStatus"].startswith("3 of 6 finished · 1 failed")
    assert told["places"] == ["The server ran out of memory.", "Not generated yet", "Not generated yet"]


def test_a_result_without_structured_content_is_read_from_its_text(told: Mapping[str, Any]) -> None:
    assert told["fromText"].startswith("6 images · ")


def test_a_running_batch_is_followed_to_its_end(told: Mapping[str, Any]) -> None:
    asked = [each["params"] for each in told["running"]["messages"] if each.get("method") == "tools/call"]

    assert [each["name"] for each in asked] == ["get_batch"]
    assert told["followed"].startswith("6 images · ")
