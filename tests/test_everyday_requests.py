"""Everyday requests work through each interface: by tool, at the shell and in Python."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from everyday_requests import FOXES, REQUESTS, SMALL, EverydayRequest, Place, fill
from mcp import Client
from mcp.types import CallToolResult
from PIL import Image
from vllm_image_core import InvalidRequest, Studio
from vllm_image_core.imaging.picture import Picture
from vllm_image_mcp.cli import main as command_line
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings


@pytest.fixture
async def place(simulator_url: str, tmp_path: Path) -> Place:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (96, 64), "teal").save(photos / "lake.jpg")
    async with Studio(simulator_url, output_dir=tmp_path / "out") as studio:
        batch = studio.batch("a fox", count=FOXES, **SMALL)
        await batch.wait()
        first = await studio.generate("a red fox", seed=1, filename="first", **SMALL)
    return Place(first=first.path, photo=photos / "lake.jpg", batch=batch.id)


def cases(door: str) -> list[Any]:
    return [pytest.param(each, id=each.words) for each in REQUESTS if getattr(each, door)]


def text_of(result: CallToolResult) -> str:
    return " ".join(each.text for each in result.content if each.type == "text")


def images_in(place: Place) -> Mapping[Path, Picture]:
    folder = place.first.parent
    paths = (path for path in folder.rglob("*.*") if path.suffix in {".png", ".jpg", ".webp"})
    return {path: Picture.check(path.read_bytes()) for path in paths if ".vllm-image" not in path.parts}


def check_images(request: EverydayRequest, place: Place, before: Mapping[Path, Picture]) -> None:
    new = {path: picture for path, picture in images_in(place).items() if path not in before}
    assert len(new) == request.images
    assert {path.suffix for path in new} <= {request.suffix}
    if request.sizes:
        assert sorted(str(picture.size) for picture in new.values()) == list(request.sizes)


@pytest.mark.parametrize("request_", cases("tools"))
async def test_the_tools_can_do_it(request_: EverydayRequest, simulator_url: str, place: Place) -> None:
    before, said = images_in(place), ""
    settings = Settings.from_arguments(
        vllm_url=simulator_url, output_dir=place.first.parent, allow_dir=[place.photo.parent]
    )
    async with Client(build_server(settings)) as client:
        for tool, arguments in request_.tools:
            result = await client.call_tool(tool, fill(arguments, place))
            assert bool(result.is_error) == request_.refused, text_of(result)
            said += text_of(result)
    check_images(request_, place, before)
    assert request_.said in said.lower()


@pytest.mark.parametrize("request_", cases("commands"))
async def test_the_shell_can_do_it(request_: EverydayRequest, simulator_url: str, place: Place) -> None:
    before, said = images_in(place), ""
    where = ("--vllm-url", simulator_url, "--output-dir", str(place.first.parent))
    for command, *arguments in request_.commands:
        given = [command, *where, *fill(arguments, place)]
        done = await asyncio.to_thread(CliRunner().invoke, command_line, given)
        assert bool(done.exit_code) == request_.refused, done.output
        said += done.output
    check_images(request_, place, before)
    assert request_.said in said.lower()


@pytest.mark.parametrize("request_", cases("python"))
async def test_python_can_do_it(request_: EverydayRequest, simulator_url: str, place: Place) -> None:
    before = images_in(place)
    async with Studio(simulator_url, output_dir=place.first.parent) as studio:
        assert request_.python
        try:
            result = await request_.python(studio, place)
        except InvalidRequest as error:
            assert request_.refused
            result = error
    check_images(request_, place, before)
    assert request_.said in str(result).lower()


def test_there_are_25_tasks_and_most_work_through_each_interface() -> None:
    assert len(REQUESTS) >= 25
    for door in ("tools", "commands", "python"):
        assert len(cases(door)) >= 22
