"""Copies of the server on one folder answer for each other, also when one of them is killed."""

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from http_process import DEADLINE_SECONDS, HttpServer, connected, content_of, text_of, write_users
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitRequestParams, ElicitResult

if TYPE_CHECKING:
    from conftest import OmniServer

TOKENS = {"anna": "anna-3d1f6a0c9b7e", "bert": "bert-51ce28d7f0a4"}
SMALL = {"width": 64, "height": 64}
PROMPTS = [f"fox {number}" for number in range(12)]
Copies = Callable[..., tuple[HttpServer, HttpServer]]


@pytest.fixture
def copies(omni: "OmniServer", tmp_path: Path) -> Iterator[Copies]:
    """Two copies of the server on one folder, with the same options."""
    started: list[HttpServer] = []

    def start(*options: str, settings: tuple[str, ...] = ()) -> tuple[HttpServer, HttpServer]:
        users = write_users(tmp_path / "users.toml", TOKENS, settings=settings)
        started.extend(
            HttpServer(
                *("--vllm-url", omni.url, "--users-file", str(users), *options),
                folder=tmp_path / "images",
                demo=False,
            )
            for _ in range(2)
        )
        return started[0], started[1]

    yield start
    for server in started:
        server.close()


async def test_one_copy_reads_waits_for_and_cancels_what_another_runs(
    copies: Copies, omni: "OmniServer"
) -> None:
    one, other = copies()
    omni.hold_after(2)
    async with connected(one.url, TOKENS["anna"]) as first, connected(other.url, TOKENS["anna"]) as second:
        begun = content_of(
            await first.call_tool("batch_generate", {"prompts": PROMPTS[:4], "max_wait": 0, **SMALL})
        )
        batch = {"batch_id": begun["batch_id"]}
        await asyncio.to_thread(omni.wait_for, 3)
        seen = content_of(await second.call_tool("get_batch", {**batch, "wait": False}))
        assert seen["status"] == "running"
        waiting = asyncio.create_task(second.call_tool("get_batch", batch))
        omni.release()
        done = content_of(await waiting)
        assert (done["status"], done["images_generated"]) == ("success", 4)
        [image] = (await second.read_resource(done["results"][0]["uri"])).contents
        assert image.uri == done["results"][0]["uri"]

        omni.hold_after(len(omni.requests) + 1)
        begun = content_of(
            await first.call_tool("batch_generate", {"prompts": PROMPTS[4:8], "max_wait": 0, **SMALL})
        )
        await asyncio.to_thread(omni.wait_for, 6)
        content_of(await second.call_tool("cancel_batch", {"batch_id": begun["batch_id"]}))
        omni.release()
        ended = content_of(await first.call_tool("get_batch", {"batch_id": begun["batch_id"]}))
        assert ended["status"] == "cancelled"


async def test_a_copy_finishes_what_another_left_when_it_was_killed(
    copies: Copies, omni: "OmniServer"
) -> None:
    one, other = copies("--resume")
    omni.hold_after(5)
    async with connected(one.url, TOKENS["anna"]) as first:
        begun = content_of(
            await first.call_tool("batch_generate", {"prompts": PROMPTS, "max_wait": 0, **SMALL})
        )
        await asyncio.to_thread(omni.wait_for, 6)
        held = len(omni.requests) - 5
        one.process.kill()
        one.process.wait(DEADLINE_SECONDS)
    omni.release()
    async with connected(other.url, TOKENS["anna"]) as second, asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found = content_of(
                await second.call_tool("get_batch", {"batch_id": begun["batch_id"], "max_wait": 5})
            )
            if found["status"] == "success":
                break
            await asyncio.sleep(0.2)
    assert found["images_generated"] == len(PROMPTS)
    sent = [request["prompt"] for request in omni.requests]
    assert set(sent) == set(PROMPTS)
    assert len(sent) <= len(PROMPTS) + held + 1  # the last image may have been saved unrecorded


async def test_a_limit_holds_for_all_copies_together(copies: Copies) -> None:
    one, other = copies(settings=("images_per_hour = 3",))
    async with connected(one.url, TOKENS["anna"]) as first, connected(other.url, TOKENS["anna"]) as second:
        content_of(await first.call_tool("batch_generate", {"prompts": PROMPTS[:2], **SMALL}))
        refused = text_of(await second.call_tool("batch_generate", {"prompts": PROMPTS[:2], **SMALL}))
        assert "The limit is 3 images an hour, with 2 already requested" in refused
        content_of(await second.call_tool("generate_image", {"prompt": "the third", **SMALL}))
    async with connected(other.url, TOKENS["bert"]) as bert:
        content_of(await bert.call_tool("generate_image", {"prompt": "another's", **SMALL}))


def test_a_link_from_one_copy_is_served_by_another(copies: Copies) -> None:
    one, other = copies()
    headers = {"authorization": f"Bearer {TOKENS['anna']}"}
    _, content = one.exchange(
        "POST", "/v1/images/generations", {"prompt": "a fox", "response_format": "url"}, **headers
    )
    [path] = re.findall(rb'"url":"http://[^/]+(/[^"]+)"', content)
    answer, image = other.exchange("GET", path.decode())
    assert (answer.status, image[:4]) == (200, b"\x89PNG")


NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 33m;
  upstream images {{
    server 127.0.0.1:{first} max_fails=1 fail_timeout=2s;
    server 127.0.0.1:{second} max_fails=1 fail_timeout=2s;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://images;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Callable[[HttpServer, HttpServer], str]]:
    """Start nginx in front of two servers, and return the address of MCP behind it."""
    program = shutil.which(
        "nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin"
    )
    if program is None:
        pytest.skip("nginx is not installed")
    started: list[subprocess.Popen[bytes]] = []

    def start(one: HttpServer, other: HttpServer) -> str:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        folder = tmp_path / "nginx"
        folder.mkdir()
        file = folder / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, first=one.port, second=other.port, port=port), "utf-8")
        started.append(subprocess.Popen([program, "-p", str(folder), "-c", str(file)]))
        return f"http://127.0.0.1:{port}/mcp"

    yield start
    for process in started:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


async def until_it_answers(url: str) -> None:
    async with httpx2.AsyncClient() as http, asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                if (await http.get(url.replace("/mcp", "/healthz"))).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)


async def test_behind_nginx_nothing_is_lost_if_one_copy_is_killed(
    copies: Copies, proxy: Callable[[HttpServer, HttpServer], str], omni: "OmniServer"
) -> None:
    one, other = copies("--resume")
    url = proxy(one, other)
    await until_it_answers(url)
    omni.hold_after(8)
    batches: list[str] = []
    for user in ("anna", "bert"):
        for number in range(2):
            async with connected(url, TOKENS[user]) as client:
                prompts = [f"{user} {number} {prompt}" for prompt in PROMPTS[:6]]
                begun = content_of(
                    await client.call_tool("batch_generate", {"prompts": prompts, "max_wait": 0, **SMALL})
                )
                batches.append(begun["batch_id"])
    await asyncio.to_thread(omni.wait_for, 9)
    one.process.kill()
    one.process.wait(DEADLINE_SECONDS)
    omni.release()
    async with asyncio.timeout(DEADLINE_SECONDS):
        for number, batch in enumerate(batches):
            while True:
                async with connected(url, TOKENS["anna" if number < 2 else "bert"]) as client:
                    found = await client.call_tool("get_batch", {"batch_id": batch, "max_wait": 5})
                if found.structured_content and found.structured_content["status"] == "success":
                    assert found.structured_content["images_generated"] == 6
                    break
                await asyncio.sleep(0.2)
    assert len({request["prompt"] for request in omni.requests}) == 24


async def test_behind_nginx_one_copy_asks_and_another_takes_the_answer(
    copies: Copies, proxy: Callable[[HttpServer, HttpServer], str]
) -> None:
    url = proxy(*copies("--confirm-over", "0.001"))
    await until_it_answers(url)
    asked: list[str] = []

    async def agree(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"go_on": True})

    headers = {"authorization": f"Bearer {TOKENS['anna']}"}
    for number in range(4):
        async with (
            httpx2.AsyncClient(headers=headers, timeout=DEADLINE_SECONDS) as http,
            Client(streamable_http_client(url, http_client=http), elicitation_callback=agree) as client,
        ):
            prompts = [f"{number} a", f"{number} b"]
            done = content_of(await client.call_tool("batch_generate", {"prompts": prompts, **SMALL}))
        assert done["images_generated"] == 2
    assert len(asked) == 4
