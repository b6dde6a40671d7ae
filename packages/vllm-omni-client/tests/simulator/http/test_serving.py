import socket
import time

import httpx
import pytest
from vllm_omni_client.simulator import SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.ConnectError:
        return False


def test_a_starting_server_refuses_connections_until_it_is_ready() -> None:
    with serve_in_thread(SimulatorSettings(startup_seconds=0.5)) as url:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health")
        deadline = time.monotonic() + 20
        while not healthy(url):
            assert time.monotonic() < deadline


def test_a_server_may_be_stopped_before_it_is_ready() -> None:
    began = time.monotonic()
    with serve_in_thread(SimulatorSettings(startup_seconds=60.0)) as url:
        assert url.startswith("http://127.0.0.1:")
    assert time.monotonic() - began < 20


def test_a_port_is_in_use_while_the_server_starts() -> None:
    with serve_in_thread(SimulatorSettings(startup_seconds=60.0)) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), socket.create_server(("127.0.0.1", port)):
            pass
