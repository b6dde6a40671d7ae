"""A simulated server on a port: in this thread for the command, in another one for tests."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from vllm_omni_client.simulator.faults.connection import OpenProtocol
from vllm_omni_client.simulator.http.app import Simulation
from vllm_omni_client.simulator.settings import SimulatorSettings

_STOP_SECONDS = 30.0
_LAST_REPLIES_SECONDS = 5  # for requests under way when the server stops


def listen(host: str, port: int, *, refusing: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Args:
        host: An address of this machine.
        port: 0 to 65535.
        refusing: Take the port but refuse connections; the server that gets the socket will listen on it.

    Raises:
        OSError: The address is not ours or in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if refusing:
        listener = socket.socket(family)
        listener.bind((host, port))
    else:
        listener = socket.create_server((host, port), family=family)
    # asyncio turns Nagle's algorithm off where a socket says that it is TCP; else replies are 40 ms late.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def url_of(listener: socket.socket) -> str:
    """The base URL of a server on this socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_of(app: ASGIApp) -> uvicorn.Server:
    """An HTTP server that logs warnings only."""
    config = uvicorn.Config(
        app,
        http=OpenProtocol,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_LAST_REPLIES_SECONDS,
    )
    return uvicorn.Server(config)


@contextmanager
def serve_in_thread(
    settings: SimulatorSettings | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> Generator[str]:
    """A simulated server in a thread of its own, for the length of a `with` block.

    Yields:
        Its base URL, such as "http://127.0.0.1:40123"; connections are taken from the start, unless the
            settings let it take its time.

    Raises:
        ValueError: The settings do not go together.
        OSError: The address is not ours or in use.
    """
    with serving(Simulation(settings), host=host, port=port) as url:
        yield url


@contextmanager
def serving(simulation: Simulation, *, host: str = "127.0.0.1", port: int = 0) -> Generator[str]:
    """As `served`, for a simulation that the caller keeps in hand.

    Yields:
        Its base URL.

    Raises:
        OSError: The address is not ours or in use.
    """
    server = server_of(simulation.app)
    startup_seconds = simulation.settings.startup_seconds
    stopped = threading.Event()

    def run(listener: socket.socket) -> None:
        if not stopped.wait(startup_seconds):
            server.run(sockets=[listener])

    with listen(host, port, refusing=startup_seconds > 0) as listener:
        thread = threading.Thread(target=run, args=(listener,), daemon=True)
        thread.start()
        try:
            yield url_of(listener)
        finally:
            stopped.set()
            server.should_exit = True
            thread.join(_STOP_SECONDS)
