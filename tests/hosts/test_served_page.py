"""A folder's served page in a headless browser: what is decided there is stored in the folder.

Screenshots are kept in the folder that HOSTS_SHOTS names, to be looked at.
"""

import asyncio
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvicorn
from vllm_image_core.storage.verdicts import Opinion, Verdicts
from vllm_image_core.studio import Studio
from vllm_image_mcp.cli.gallery_server import GalleryServer
from vllm_omni_client import AsyncOmniClient
from vllm_omni_client.simulator import create_app
from vllm_omni_client.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    from conftest import Node


async def generate(folder: Path) -> None:
    client = AsyncOmniClient.in_process(create_app(SimulatorSettings(speed=0)))
    async with Studio(client, output_dir=folder) as studio:
        for name in ("fox", "owl", "elk"):
            await studio.generate(f"a {name}", width=256, height=256, filename=name)


def test_images_are_kept_rejected_rated_and_tagged_with_the_keyboard(
    node: "Node", browser: Mapping[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    asyncio.run(generate(folder))
    gallery = GalleryServer(folder)
    server = uvicorn.Server(uvicorn.Config(gallery.app(), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [gallery.listener]})
    thread.start()
    try:
        shots = os.environ.get("HOSTS_SHOTS", str(tmp_path / "shots"))
        with TemporaryDirectory() as unpacked:  # the path of a browser's socket must be short
            told = node.run("served_page.mjs", gallery.url, shots, env={**browser, "TMPDIR": unpacked})
    finally:
        server.should_exit = True
        thread.join()
    seen = json.loads(told)
    assert seen["complaints"] == []
    assert (seen["all"], seen["afterReload"], seen["takenBack"]) == ("3 images", "2 images", "3 images")
    assert (seen["rated"], seen["rejected"]) == ("1 of 2 images", "1 of 2 images")
    assert seen["caption"].startswith("★★★★ a ")
    assert Opinion(kept=True, stars=4, tag="hero") in Verdicts(folder).opinions().values()
    assert not any((folder / "rejected").glob("*.png"))
