"""Provide pytest fixtures that start a simulated vLLM-Omni server, on a port or in the test's process.

`omni_server` listens on a port; `omni_transport` needs none. pytest loads this module wherever the client is
installed. The simulator is imported only when a test uses a fixture; it needs the extra
`vllm-omni-client[simulator]`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

    from vllm_omni_client.simulator import FaultPlan, Simulation, SimulatorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class OmniServer:
    """A simulated server that listens on a port of this machine."""

    url: str
    """The base URL, such as "http://127.0.0.1:40123"."""
    simulation: "Simulation"
    """The simulated server itself."""

    @property
    def settings(self) -> "SimulatorSettings":
        """The settings the server was started with."""
        return self.simulation.settings

    @property
    def faults(self) -> "FaultPlan":
        """The faults in effect: `faults.add("status,status=503@1")` makes the next request fail."""
        return self.simulation.faults


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker `omni`, so that `--strict-markers` accepts it."""
    config.addinivalue_line(
        "markers",
        "omni(**settings): settings of the simulated vLLM-Omni server, such as model= or faults=.",
    )


@pytest.fixture
def omni_settings(request: pytest.FixtureRequest) -> "SimulatorSettings":
    """Read the simulated server's settings from the marker `omni`; override this fixture to change them."""
    try:
        from vllm_omni_client.simulator import SimulatorSettings  # noqa: PLC0415 - the plugin must load without the extra
    except ModuleNotFoundError as error:
        pytest.fail(f"{error}: pip install 'vllm-omni-client[simulator]'", pytrace=False)
    marker = request.node.get_closest_marker("omni")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - pytest leaves its nodes untyped
    settings: dict[str, object] = marker.kwargs if marker is not None else {}  # pyright: ignore[reportUnknownMemberType] - likewise
    return SimulatorSettings.model_validate(settings)


@pytest.fixture
def omni_simulation(omni_settings: "SimulatorSettings") -> "Simulation":
    """Create this test's simulated server: `app` is the ASGI application, `faults` what goes wrong."""
    from vllm_omni_client.simulator import Simulation  # noqa: PLC0415 - needs the extra

    return Simulation(omni_settings)


@pytest.fixture
def omni_server(omni_simulation: "Simulation") -> Iterator[OmniServer]:
    """Run the simulated server on a free port for the duration of the test."""
    from vllm_omni_client.simulator.http.serving import serve_simulation  # noqa: PLC0415 - needs the extra

    with serve_simulation(omni_simulation) as url:
        yield OmniServer(url=url, simulation=omni_simulation)


@pytest.fixture
def omni_transport(omni_simulation: "Simulation") -> "httpx.ASGITransport":
    """Connect `AsyncOmniClient` or `httpx.AsyncClient` to the simulated server without a port."""
    import httpx  # noqa: PLC0415 - pytest loads this plugin in every run, so it must import quickly

    return httpx.ASGITransport(omni_simulation.app)
