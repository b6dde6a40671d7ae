"""Fixtures for tests of programs that talk to vLLM-Omni: `omni_server`, on a port, `omni_transport`, without.

pytest loads this module wherever the client is installed; the simulator only where a test asks for it, which
needs the extra `vllm-omni-client[simulator]`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

    from vllm_omni_client.simulator import FaultPlan, Simulation, SimulatorSettings

__all__ = ["OmniServer", "omni_server", "omni_settings", "omni_simulation", "omni_transport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OmniServer:
    """A simulated server on a port of this machine."""

    url: str
    """The base URL, such as "http://127.0.0.1:40123"."""
    simulation: "Simulation"
    """The server behind it."""

    @property
    def settings(self) -> "SimulatorSettings":
        """What it was started with."""
        return self.simulation.settings

    @property
    def faults(self) -> "FaultPlan":
        """What goes wrong: `faults.add("status,status=503@1")` spoils the next request."""
        return self.simulation.faults


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, for those who are strict about markers."""
    config.addinivalue_line(
        "markers",
        "omni(**settings): the settings of the simulated vLLM-Omni server, such as model= or faults=.",
    )


@pytest.fixture
def omni_settings(request: pytest.FixtureRequest) -> "SimulatorSettings":
    """The simulated server's settings: those of the marker `omni`; override this fixture for others."""
    return _settings(request)


@pytest.fixture
def omni_simulation(omni_settings: "SimulatorSettings") -> "Simulation":
    """The simulated server of this test; its `app` is an ASGI application, its `faults` steer it."""
    from vllm_omni_client.simulator import Simulation  # noqa: PLC0415 - the extra is there if this is used

    return Simulation(omni_settings)


@pytest.fixture
def omni_server(omni_simulation: "Simulation") -> Iterator[OmniServer]:
    """The simulated server on a free port, for the length of the test."""
    from vllm_omni_client.simulator.http.serving import serving  # noqa: PLC0415 - the extra is there if this is used

    with serving(omni_simulation) as url:
        yield OmniServer(url=url, simulation=omni_simulation)


@pytest.fixture
def omni_transport(omni_simulation: "Simulation") -> "httpx.ASGITransport":
    """The simulated server in this process: a transport for `AsyncOmniClient` or `httpx.AsyncClient`."""
    import httpx  # noqa: PLC0415 - pytest loads this plugin for everybody; it is to cost nothing

    return httpx.ASGITransport(omni_simulation.app)


def _settings(request: pytest.FixtureRequest) -> "SimulatorSettings":
    try:
        from vllm_omni_client.simulator import SimulatorSettings  # noqa: PLC0415 - the plugin loads without it
    except ModuleNotFoundError as error:
        pytest.fail(f"{error}: pip install 'vllm-omni-client[simulator]'", pytrace=False)
    marker = request.node.get_closest_marker("omni")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - pytest leaves its nodes untyped
    settings: dict[str, object] = marker.kwargs if marker is not None else {}  # pyright: ignore[reportUnknownMemberType] - likewise
    return SimulatorSettings.model_validate(settings)
