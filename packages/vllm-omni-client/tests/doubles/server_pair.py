"""Two simulated servers on ports of this machine."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from vllm_omni_client import OmniClient
from vllm_omni_client.simulator import Simulation, SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_simulation


class ServerPair:
    """The URLs of two servers, and how many images they have generated.

    Attributes:
        urls: Their base URLs.
    """

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls

    @property
    def generated(self) -> int:
        """Images that both have generated so far."""
        count = 0
        for url in self.urls:
            with OmniClient(url) as client:
                count += client.get_metrics().images or 0
        return count


@contextmanager
def server_pair(speed: float = 0.0) -> Generator[ServerPair]:
    """Run two servers for the duration of a block."""
    with ExitStack() as stack:
        settings = SimulatorSettings(speed=speed)
        yield ServerPair([stack.enter_context(serve_simulation(Simulation(settings))) for _ in range(2)])
