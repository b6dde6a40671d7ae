"""A server behind a company's gateway (an internal CA, a header, a key) works through every interface."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from tls_gateway import HEADER, TOKEN, Gateway, tls_gateway
from vllm_image_core import Studio
from vllm_omni_client import AsyncOmniClient, ImageGenerationRequest, OmniClient
from vllm_omni_client.simulator import SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread

KEY: Final = "canary-key-7f3a"
REQUEST: Final = ImageGenerationRequest(prompt="a red fox", size="64x64", num_inference_steps=2, seed=7)
SMALL: Final = {"width": 64, "height": 64, "num_inference_steps": 2, "seed": 7}
SHELL: Final = ("a red fox", "--width", "64", "--height", "64", "--steps", "2", "--seed", "7")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with a vLLM-Omni server behind it that has a key of its own."""
    with (
        serve_in_thread(SimulatorSettings(api_key=KEY)) as upstream,
        tls_gateway(upstream, tmp_path) as gateway,
    ):
        yield gateway


@pytest.fixture
def environment(gateway: Gateway) -> Mapping[str, str]:
    """What a host or a shell is told, so that no secret is on a command line."""
    return {
        "VLLM_IMAGE_URL": gateway.url,
        "VLLM_IMAGE_API_KEY": KEY,
        "VLLM_IMAGE_HEADER": f"{HEADER}: {TOKEN}\nX-Team: blue",
        "VLLM_IMAGE_CA_FILE": str(gateway.ca_file),
        "VLLM_IMAGE_LOG_LEVEL": "DEBUG",
    }


def passed(gateway: Gateway) -> bool:
    """Whether an image was asked for through the gateway, with the header and the key."""
    generations = [head for head in gateway.heads if head.startswith(b"POST /v1/images/generations ")]
    return len(generations) == 1 and f"Bearer {KEY}".encode() in generations[0]


def test_the_blocking_client(gateway: Gateway) -> None:
    with OmniClient(
        gateway.url, api_key=KEY, headers={HEADER: TOKEN}, verify=gateway.ca_file, max_retries=0
    ) as client:
        assert client.generate_image(REQUEST).seed == 7
    assert passed(gateway)


async def test_the_async_client(gateway: Gateway) -> None:
    async with AsyncOmniClient(
        gateway.url, api_key=KEY, headers={HEADER: TOKEN}, verify=gateway.ca_file, max_retries=0
    ) as client:
        assert (await client.generate_image(REQUEST)).seed == 7
    assert passed(gateway)


async def test_the_studio(gateway: Gateway, tmp_path: Path) -> None:
    async with Studio(
        gateway.url,
        output_dir=tmp_path / "images",
        api_key=KEY,
        headers={HEADER: TOKEN},
        verify=gateway.ca_file,
    ) as studio:
        assert (await studio.health()).status == "healthy"
        image = await studio.generate("a red fox", width=64, height=64, num_inference_steps=2, seed=7)
        assert image.path.is_file()
        shown = repr(vars(studio))
    assert passed(gateway)
    assert TOKEN not in shown
    assert KEY not in shown


async def test_a_server_that_is_added_later_gets_the_same_headers(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with (
        serve_in_thread(SimulatorSettings(api_key=KEY)) as upstream,
        tls_gateway(upstream, tmp_path / "second") as second,
    ):
        both = tmp_path / "both.pem"
        both.write_bytes(gateway.ca_file.read_bytes() + second.ca_file.read_bytes())
        async with Studio(
            gateway.url, output_dir=tmp_path, api_key=KEY, headers={HEADER: TOKEN}, verify=both
        ) as studio:
            studio.add_server(second.url)
            health = await studio.health()
    assert [each.status for each in health.servers] == ["healthy", "healthy"]


async def test_the_tools(gateway: Gateway, environment: Mapping[str, str], tmp_path: Path) -> None:
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "vllm_image_mcp.server", "--output-dir", str(tmp_path / "images")],
        env=dict(environment),
    )
    async with Client(parameters, read_timeout_seconds=60) as client:
        result = await client.call_tool("generate_image", {"prompt": "a red fox", **SMALL})
    assert not result.is_error, result.content
    assert passed(gateway)
    assert TOKEN not in repr(result)


def test_the_shell_by_its_environment(
    gateway: Gateway, environment: Mapping[str, str], tmp_path: Path
) -> None:
    run = shell("generate", *SHELL, environment=environment, folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert passed(gateway)
    assert TOKEN not in run.stdout + run.stderr
    assert KEY not in run.stdout + run.stderr


def test_the_shell_by_its_options(gateway: Gateway, tmp_path: Path) -> None:
    options = (
        *("--vllm-url", gateway.url, "--api-key", KEY, "--ca-file", str(gateway.ca_file)),
        *("--header", f"{HEADER}: {TOKEN}", "--header", "X-Team: blue"),
    )
    run = shell("generate", *SHELL, *options, environment={}, folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert passed(gateway)
    assert b"\r\nx-team: blue\r\n" in gateway.heads[-1]


@pytest.mark.parametrize(
    ("variable", "options"),
    [
        ("VLLM_IMAGE_HEADER", "--header or VLLM_IMAGE_HEADER"),
        ("VLLM_IMAGE_CA_FILE", "--ca-file"),
    ],
)
def test_without_what_a_gateway_needs_the_shell_says_which_option_sets_it(
    gateway: Gateway, environment: Mapping[str, str], tmp_path: Path, variable: str, options: str
) -> None:
    without = {name: value for name, value in environment.items() if name != variable}
    run = shell("health", environment=without, folder=tmp_path)
    assert run.returncode != 0
    assert options in run.stdout + run.stderr


def shell(
    *arguments: str, environment: Mapping[str, str], folder: Path
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "vllm_image_mcp", *arguments],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def proxy() -> Iterator[str]:
    """A proxy that answers for the server itself, as it takes requests for any address."""
    with serve_in_thread(SimulatorSettings()) as url:
        yield url


ELSEWHERE: Final = "http://gpu.invalid:8000"
"""An address that only the proxy knows."""


async def test_the_clients_and_the_studio_use_the_proxy_they_are_given(proxy: str, tmp_path: Path) -> None:
    with OmniClient(ELSEWHERE, proxy=proxy, max_retries=0) as client:
        assert client.generate_image(REQUEST).seed == 7
    async with AsyncOmniClient(ELSEWHERE, proxy=proxy, max_retries=0) as client:
        assert (await client.generate_image(REQUEST)).seed == 7
    async with Studio(ELSEWHERE, output_dir=tmp_path, proxy=proxy) as studio:
        image = await studio.generate("a red fox", width=64, height=64, num_inference_steps=2, seed=7)
    assert image.path.is_file()


async def test_the_tools_use_the_proxy_they_are_given(proxy: str, tmp_path: Path) -> None:
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "vllm_image_mcp.server", "--output-dir", str(tmp_path / "images")],
        env={"VLLM_IMAGE_URL": ELSEWHERE, "VLLM_IMAGE_PROXY": proxy},
    )
    async with Client(parameters, read_timeout_seconds=60) as client:
        result = await client.call_tool("generate_image", {"prompt": "a red fox", **SMALL})
    assert not result.is_error, result.content


def test_the_shell_uses_the_proxy_it_is_given_and_never_shows_its_password(
    proxy: str, tmp_path: Path
) -> None:
    address = proxy.replace("://", f"://me:{TOKEN}@")
    run = shell(
        *("generate", *SHELL, "--vllm-url", ELSEWHERE, "--proxy", address, "--log-level", "DEBUG"),
        environment={},
        folder=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert TOKEN not in run.stdout + run.stderr


def test_the_shell_connects_directly_if_it_is_told_to(gateway: Gateway, tmp_path: Path) -> None:
    run = shell(
        *("generate", *SHELL, "--proxy", "none", "--header", f"{HEADER}: {TOKEN}", "--api-key", KEY),
        environment={
            "VLLM_IMAGE_URL": gateway.url,
            "VLLM_IMAGE_CA_FILE": str(gateway.ca_file),
            "HTTPS_PROXY": "http://127.0.0.1:9",
        },
        folder=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert passed(gateway)
