import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from vllm_omni_client import AsyncOmniClient, ImageGenerationRequest, OmniClient
from vllm_omni_client.pytest_plugin import OmniServer
from vllm_omni_client.simulator import Simulation, SimulatorSettings

REQUEST = ImageGenerationRequest(prompt="a red fox", size="64x64", num_inference_steps=1, seed=1)


def run(folder: Path, test: str, *options: str) -> tuple[int, str]:
    """The exit code and the output of a user's own test."""
    folder.joinpath("test_mine.py").write_text(test, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        [*command, "test_mine.py"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_server_on_a_port_is_available_in_the_test(omni_server: OmniServer) -> None:
    assert omni_server.settings == SimulatorSettings()
    with OmniClient(omni_server.url) as client:
        assert client.generate_image(REQUEST).data[0].bytes.startswith(b"\x89PNG")


@pytest.mark.omni(model="Qwen/Qwen-Image", api_key="k", faults=["status@1"])
def test_a_marker_holds_the_settings(omni_server: OmniServer) -> None:
    assert omni_server.settings.model == "Qwen/Qwen-Image"
    assert httpx.get(f"{omni_server.url}/v1/models").status_code == 401
    assert omni_server.faults.counts() == {"status@1": 0}


def test_faults_are_added_while_the_test_runs(omni_server: OmniServer) -> None:
    omni_server.faults.add("status,status=418@1")
    body = {"prompt": "a", "size": "64x64"}
    path = f"{omni_server.url}/v1/images/generations"
    assert [httpx.post(path, json=body).status_code for _ in range(2)] == [418, 200]


async def test_a_transport_talks_to_a_server_in_this_process(
    omni_transport: httpx.ASGITransport, omni_simulation: Simulation
) -> None:
    async with AsyncOmniClient("http://simulator", transport=omni_transport) as client:
        models = await client.get_models()
    assert models.data[0].id == omni_simulation.settings.model


def test_the_settings_may_be_a_fixture_of_the_user(tmp_path: Path) -> None:
    test = """
import pytest
from vllm_omni_client.simulator import SimulatorSettings

@pytest.fixture
def omni_settings():
    return SimulatorSettings(server_version="0.14.0")

def test_mine(omni_server):
    assert omni_server.settings.server_version == "0.14.0"
"""
    code, output = run(tmp_path, test)
    assert (code, "1 passed" in output) == (0, True), output


def test_a_wrong_setting_in_the_marker_is_an_error(tmp_path: Path) -> None:
    test = """
import pytest

@pytest.mark.omni(pace=1)
def test_mine(omni_server):
    pass
"""
    code, output = run(tmp_path, test)
    assert code == 1
    assert "Extra inputs are not permitted" in output


def test_without_the_extra_other_tests_run_and_ours_say_what_to_install(tmp_path: Path) -> None:
    tmp_path.joinpath("conftest.py").write_text(
        "import sys\nsys.modules['starlette'] = None\n", encoding="utf-8"
    )
    code, output = run(tmp_path, "def test_other():\n    pass\n\ndef test_mine(omni_server):\n    pass\n")
    assert code == 1
    assert "1 passed, 1 error" in output
    assert "pip install 'vllm-omni-client[simulator]'" in output


def test_the_plugin_costs_no_import_of_the_simulator_or_httpx() -> None:
    heavy = "{'httpx', 'starlette', 'PIL', 'uvicorn', 'pydantic'}"
    code = f"import vllm_omni_client.pytest_plugin, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"
