"""What has to be true of a field that was added to the tables; `test_new_field.py` runs this on a copy."""

# Type checkers see the sources that do not have the field.
# pyright: reportArgumentType=false, reportCallIssue=false

import inspect
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
import vllm_image_core
from click.testing import CliRunner
from mcp import Client
from mcp.types import CallToolResult
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from vllm_image_core import ImageRequest, InvalidRequest, Metadata, Studio
from vllm_image_core.batches.stored_items import request_as_json, request_from_json
from vllm_image_core.imaging.picture import read_text
from vllm_image_mcp.cli import main as command_line
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import InvalidParameter
from vllm_omni_client.models import ImageGenerationRequest
from vllm_omni_client.simulator import create_app
from vllm_omni_client.simulator.http.serving import base_url, create_server, open_listener

SIZE: Final[dict[str, Any]] = {"width": 64, "height": 64}
NEW: Final[Any] = {"sharpness": 0.5, "user": "cpu", "vae_use_tiling": True}
OF_EDIT: Final[Any] = {"sharpness": 0.25, "vae_use_tiling": True}
REFUSAL: Final = "sharpness: 2.5 is out of range. Allowed: a number from 0 to 1."


class Server:
    """A simulated server whose release is known by its version alone; it records what it is sent."""

    def __init__(self) -> None:
        self._app = create_app()
        self.sent = b""
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def record() -> Message:
            message = await receive()
            self.sent += message.get("body", b"")
            return message

        if scope["type"] == "http" and scope["path"] == "/openapi.json":
            await Response(status_code=404)(scope, receive, send)
        else:
            await self._app(scope, record, send)

    def last(self) -> dict[str, Any]:
        """The last request, as JSON."""
        return json.loads(self.sent[self.sent.rindex(b'{"prompt"') :])


def told(result: CallToolResult) -> dict[str, Any]:
    assert result.structured_content
    return result.structured_content


@pytest.fixture
def server() -> Iterator[Server]:
    app = Server()
    served = create_server(app)
    with open_listener("127.0.0.1", 0) as listener:
        app.url = base_url(listener)
        thread = Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        yield app
        served.should_exit = True
        thread.join()


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Callable[..., str]:
    def command(name: str, *arguments: str) -> str:
        where = ("--vllm-url", server.url, "--output-dir", str(tmp_path))
        done = CliRunner().invoke(command_line, [name, *where, *arguments], prog_name="vllm-image-mcp")
        return done.output

    return command


def test_these_are_the_sources_with_the_field() -> None:
    assert Path(vllm_image_core.__file__).is_relative_to(os.environ["SOURCES"])


def test_the_client_sends_it_and_refuses_what_is_out_of_range() -> None:
    assert json.loads(ImageGenerationRequest(prompt="fox", sharpness=0.5).to_json())["sharpness"] == 0.5
    assert ("sharpness", "0.5") in ImageEditRequest(prompt="fox", sharpness=0.5).to_form()
    with pytest.raises(InvalidParameter, match="sharpness"):
        ImageGenerationRequest(prompt="fox", sharpness=2.5)


def test_the_help_of_the_studio_names_it() -> None:
    for method in (Studio.generate, Studio.edit):
        named = inspect.signature(method).parameters["sharpness"]
        assert (named.annotation, named.default) == (float | None, None)


async def test_the_studio_sends_it_and_file_receipt_and_index_record_it(
    server: Server, tmp_path: Path
) -> None:
    async with Studio(server.url, output_dir=tmp_path) as studio:
        image = await studio.generate("a fox", seed=7, **SIZE, **NEW)
        assert server.last().items() >= NEW.items()
        assert {name: getattr(image.request, name) for name in NEW} == NEW
        lines = {line.parameter: line for line in image.receipt.lines}
        assert (lines["sharpness"].requested, lines["sharpness"].sent) == (0.5, 0.5)

        texts = read_text(image.path.read_bytes())
        assert json.loads(texts["vllm-image"]).items() >= NEW.items()
        assert "sharpness: 0.5" in texts["parameters"]
        recalled = await studio.recall(image.path)
        assert {name: getattr(recalled.request, name) for name in NEW} == NEW

        [record] = (await studio.find("fox")).pictures
        assert {name: getattr(record, name) for name in NEW} == NEW
        again = record.as_request()
        assert again is not None
        assert (await studio.make(again)).reused
        assert not (await studio.generate("a fox", seed=7, **SIZE, **{**NEW, "sharpness": 0.6})).reused

        with pytest.raises(InvalidRequest) as refused:
            await studio.generate("a fox", **SIZE, sharpness=2.5)
        assert str(refused.value).startswith(REFUSAL)


async def test_an_edit_sends_it_too(server: Server, tmp_path: Path) -> None:
    async with Studio(server.url, output_dir=tmp_path) as studio:
        image = await studio.generate("a fox", **SIZE)
        edited = await studio.edit("at night", image.picture, **OF_EDIT)
        assert [name for name in OF_EDIT if getattr(edited.request, name) is None] == ["vae_use_tiling"]
        assert "vae_use_tiling was dropped: edit requests have no field for it." in edited.notes
        assert b'name="sharpness"\r\n\r\n0.25\r\n' in server.sent


async def test_a_file_without_prompts_has_none_of_its_texts(server: Server, tmp_path: Path) -> None:
    async with Studio(server.url, output_dir=tmp_path, metadata=Metadata(prompts=False)) as studio:
        image = await studio.generate("a fox", **SIZE, **NEW)
    recipe = json.loads(read_text(image.path.read_bytes())["vllm-image"])
    assert (recipe["sharpness"], "sharpness" in recipe["receipt"]) == (0.5, True)
    assert not {"prompt", "user"} & {*recipe, *recipe["receipt"]}


def test_the_journal_keeps_it(tmp_path: Path) -> None:
    request = ImageRequest(prompt="a fox", **NEW)
    assert request_from_json(request_as_json(request), tmp_path) == request


async def test_the_tools_publish_it_pass_it_on_and_report_it(server: Server, tmp_path: Path) -> None:
    settings = Settings.from_arguments(vllm_url=server.url, output_dir=tmp_path)
    async with Client(build_server(settings)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name in ("generate_image", "batch_generate", "edit_image"):
            published = tools[name].input_schema["properties"]["sharpness"]
            assert published == {"type": "number", "description": "0 to 1."}
        used = (tools["generate_image"].output_schema or {})["properties"]["parameters_used"]
        assert "sharpness" in str(used)

        one = await client.call_tool("generate_image", {"prompt": "a fox", **SIZE, "sharpness": "0.5"})
        assert server.last()["sharpness"] == 0.5
        assert told(one)["parameters_used"]["sharpness"] == 0.5
        found = await client.call_tool("find_images", {})
        assert told(found)["images"][0]["parameters"]["sharpness"] == 0.5

        sweep = {"prompts": ["a fox"], "sweep": {"sharpness": ["0", 1]}, **SIZE}
        several = await client.call_tool("batch_generate", sweep)
        results = told(several)["results"]
        assert [each["parameters"]["sharpness"] for each in results] == [0, 1]

        for given in ({"sharpness": 2.5}, {"sharpnes": 1}, {"crispness": 1}):
            refused = await client.call_tool("generate_image", {"prompt": "a fox", **given})
            assert refused.is_error
            assert (REFUSAL if given == {"sharpness": 2.5} else "Use sharpness") in str(refused.content)


def test_the_commands_have_its_option(server: Server, run: Callable[..., str], tmp_path: Path) -> None:
    small = ("--width", "64", "--height", "64", "--sharpness", "0.5", "--user", "cpu")
    small = (*small, "--vae-use-tiling", "true")
    assert "size   64x64" in run("generate", "a fox", *small)
    assert server.last().items() >= NEW.items()
    [image] = tmp_path.glob("*.png")
    assert "size   64x64" in run("edit", "at night", str(image), *small)
    assert server.sent.count(b'name="sharpness"\r\n\r\n0.5\r\n') == 1
    assert REFUSAL in run("generate", "a fox", "--sharpness", "2.5")


def test_a_batch_file_has_its_column(server: Server, run: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "foxes.csv"
    file.write_text(
        "prompt,sharpness,vae_use_tiling\na fox,0.5,TRUE\nan owl,much,\na hare,2.5,\na mole,1,maybe\n"
    )
    lines = run("batch", str(file), "--width", "64", "--height", "64", "--user", "cpu")
    assert server.last().items() >= NEW.items()
    assert "line 3 refused: sharpness 'much' is not a number." in lines
    assert "line 5 refused: vae_use_tiling 'maybe' is neither true nor false." in lines
    assert f"line 4 refused: {REFUSAL}" in lines
