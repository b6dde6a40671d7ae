"""The command `health`: what it prints, and with which status it ends."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from click.testing import Result

if TYPE_CHECKING:
    from conftest import OmniServer

Run = Callable[..., Result]


def test_a_healthy_server_is_reported(run: Run, omni: "OmniServer") -> None:
    result = run("health", "--vllm-url", omni.url)
    assert (result.exit_code, result.stderr) == (0, "")
    told = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert told.pop("answer").endswith(" ms")
    assert told == {
        "server": omni.url,
        "status": "healthy",
        "model": "black-forest-labs/FLUX.2-klein-4B",
        "version": "0.30.0",
    }


def test_each_of_several_servers_is_reported_and_one_that_is_down_does_not_fail_the_command(
    run: Run, omni: "OmniServer", nobody: str
) -> None:
    result = run("health", "--vllm-url", nobody, "--vllm-url", omni.url)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-2:] == [
        f"  {nobody}  out  no model  unknown version",
        f"  {omni.url}  in  black-forest-labs/FLUX.2-klein-4B  0.30.0",
    ]
    assert f"{nobody} cannot be reached" in result.stderr


def test_a_server_that_is_down_is_reported_and_the_status_is_one(run: Run, nobody: str) -> None:
    result = run("health", "--vllm-url", nobody)
    assert result.exit_code == 1
    assert "status   unreachable" in result.stdout
    assert f"{nobody} cannot be reached" in result.stderr


def test_json_has_the_keys_of_the_tool(run: Run, omni: "OmniServer", nobody: str) -> None:
    told = json.loads(run("health", "--vllm-url", omni.url, "--json").stdout)
    assert (told["status"], told["model_loaded"]) == ("healthy", "black-forest-labs/FLUX.2-klein-4B")
    result = run("health", "--vllm-url", nobody, "--json")
    assert (result.exit_code, json.loads(result.stdout)["status"]) == (1, "unreachable")
