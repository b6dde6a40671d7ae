"""Serve a simulated server on a port: in this thread for the command, in a new thread for tests."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from vllm_omni_client.simulator.faults.connection import ConnectionAwareProtocol
from vllm_omni_client.simulator.http.app import Simulation
from vllm_omni_client.simulator.settings import SimulatorSettings

_STOP_SECONDS = 30.0
_LAST_REPLIES_SECONDS = 5  # for requests in progress when the server stops


def open_listener(host: str, port: int, *, refusing: bool = False) -> socket.socket:
    """Open a listening socket.

    Args:
        host: An address of this machine.
        port: 0 to 65535; 0 picks a free port.
        refusing: Reserve the port but refuse connections until a server starts to listen on the socket.

    Raises:
        OSError: The address is not this machine's, or it is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if refusing:
        listener = socket.socket(family)
        listener.bind((host, port))
    else:
        listener = socket.create_server((host, port), family=family)
    # asyncio disables Nagle's algorithm only if the socket says it is TCP; otherwise replies are 40 ms late.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def base_url(listener: socket.socket) -> str:
    """Return the base URL of a server on this socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def create_server(app: ASGIApp) -> uvicorn.Server:
    """Create an HTTP server for the application that logs only warnings and errors."""
    config = uvicorn.Config(
        app,
        http=ConnectionAwareProtocol,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_LAST_REPLIES_SECONDS,
    )
    return uvicorn.Server(config)


@contextmanager
def serve_in_thread(
    settings: SimulatorSettings | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> Generator[str]:
    """Run a simulated server in its own thread for the duration of a `with` block.

    Yields:
        The base URL, such as "http://127.0.0.1:40123"; connections are accepted at once, unless the
            settings have `startup_seconds`.

    Raises:
        ValueError: The model cannot run as many requests at once as the settings ask for.
        OSError: The address is not this machine's, or it is in use.
    """
    with serve_simulation(Simulation(settings), host=host, port=port) as url:
        yield url


@contextmanager
def serve_simulation(simulation: Simulation, *, host: str = "127.0.0.1", port: int = 0) -> Generator[str]:
    """Run an existing simulation in its own thread, as `serve_in_thread` does.

    Yields:
        The base URL.

    Raises:
        OSError: The address is not this machine's, or it is in use.
    """
    server = create_server(simulation.app)
    startup_seconds = simulation.settings.startup_seconds
    stopped = threading.Event()

    def run(listener: socket.socket) -> None:
        if not stopped.wait(startup_seconds):
            server.run(sockets=[listener])

    with open_listener(host, port, refusing=startup_seconds > 0) as listener:
        thread = threading.Thread(target=run, args=(listener,), daemon=True)
        thread.start()
        try:
            yield base_url(listener)
        finally:
            stopped.set()
            server.should_exit = True
            thread.join(_STOP_SECONDS)
