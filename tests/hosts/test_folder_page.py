"""A folder's page with ten thousand images, opened from a file in a headless browser.

Screenshots are kept in the folder that HOSTS_SHOTS names, to be looked at.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vllm_image_core.gallery.page import gallery_page
from vllm_image_core.gallery.thumbnails import update_thumbnails
from vllm_image_core.storage.index import Index
from vllm_image_core.storage.query import Query
from vllm_image_core.studio import Studio
from vllm_omni_client import AsyncOmniClient
from vllm_omni_client.simulator import create_app
from vllm_omni_client.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    from conftest import Node

IMAGES = 10_000
ROUNDS = ("light", "dark", "phone")


async def write_page(folder: Path) -> Path:
    """A page of ten thousand images that share four files."""
    client = AsyncOmniClient.in_process(create_app(SimulatorSettings(speed=0)))
    async with Studio(client, output_dir=folder) as studio:
        for prompt in ("a red fox", "an owl", "</script><b>written as text</b>", "it's a 'hill'"):
            await studio.generate(prompt, width=256, height=256)
    four = Index(folder).find(Query()).pictures
    thumbnails = update_thumbnails(four, folder / ".vllm-image" / "thumbnails")
    many = [
        replace(
            four[count % 4],
            seed=count,
            prompt=f"{four[count % 4].prompt} number {count}",
            created=four[0].created + timedelta(seconds=count),
        )
        for count in range(IMAGES)
    ]
    page = folder / "gallery.html"
    page.write_text(gallery_page(many, thumbnails, folder), "utf-8")
    return page


@pytest.fixture(scope="module")
def seen(
    node: "Node", browser: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What was seen on a wide page, a dark one, and a phone."""
    folder = tmp_path_factory.mktemp("page")
    page = asyncio.run(write_page(folder))
    shots = os.environ.get("HOSTS_SHOTS", str(folder / "shots"))
    unpacked = folder / "browser"
    unpacked.mkdir()
    told = node.run("folder_page.mjs", str(page), shots, env={**browser, "TMPDIR": str(unpacked)})
    return json.loads(told)


@pytest.mark.parametrize("name", ROUNDS)
def test_nothing_is_requested_from_elsewhere_and_nothing_goes_wrong(
    seen: Mapping[str, Any], name: str
) -> None:
    assert (seen[name]["complaints"], seen[name]["outside"]) == ([], [])


@pytest.mark.parametrize("name", ROUNDS)
def test_only_the_images_in_view_are_in_the_page(seen: Mapping[str, Any], name: str) -> None:
    assert seen[name]["all"] == "10000 images"
    assert 0 < seen[name]["cells"] < 150
    assert 0 < seen[name]["cellsAtEnd"] < 150


@pytest.mark.parametrize("name", ROUNDS)
def test_keys_open_the_second_image_with_the_command_that_makes_it_again(
    seen: Mapping[str, Any], name: str
) -> None:
    told = seen[name]
    assert told["opened"].endswith("number 9998")
    assert told["command"].startswith("vllm-image-mcp generate ")
    assert told["command"].endswith("--seed 9998")
    assert told["said"] == "Copied."


@pytest.mark.parametrize("name", ROUNDS)
def test_two_images_are_compared_by_what_differs(seen: Mapping[str, Any], name: str) -> None:
    first, second = seen[name]["compared"]
    assert "seed: 9998" in first
    assert "seed: 9997" in second
    assert "width" not in first


@pytest.mark.parametrize("name", ROUNDS)
def test_search_and_sort_choose_the_images(seen: Mapping[str, Any], name: str) -> None:
    assert seen[name]["found"] == "1 of 10000 images"
    assert seen[name]["oldest"].endswith(" number 0")
