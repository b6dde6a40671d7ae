"""A dataset behind a proxy outlives one of the two servers there, with the documented configurations."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from vllm_image_core import DatasetProgress, generate_dataset

pytest.importorskip("obstore")
pytest.importorskip("pyarrow")

ROOT = Path(__file__).parents[1]
FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
SERVER = """
import sys
from vllm_omni_client.simulator import Simulation, SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_simulation

with serve_simulation(Simulation(SimulatorSettings())) as url:
    print(url, flush=True)
    sys.stdin.read()
"""
ROWS = 60
START_SECONDS = 30.0


@contextmanager
def server() -> Generator[tuple[subprocess.Popen[str], str]]:
    """A simulated server in a process of its own, and its host and port."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip().removeprefix("http://")
        finally:
            process.kill()


def nginx_command(program: str, configuration: Path) -> list[str]:
    folder = configuration.parent
    options = f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;"
    return [program, "-p", str(folder), "-c", str(configuration), "-g", options]


def haproxy_command(program: str, configuration: Path) -> list[str]:
    return [program, "-db", "-f", str(configuration)]


@contextmanager
def proxy(command: list[str], port: int) -> Generator[None]:
    """A proxy on a port, as a process of this test, until the end of a block."""
    with subprocess.Popen(command) as process:
        try:
            wait_for(port, process)
            yield
        finally:
            process.terminate()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a port accepts connections."""
    for _ in range(int(10 * START_SECONDS)):
        with socket.socket() as connection:
            connection.settimeout(1)
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        with pytest.raises(subprocess.TimeoutExpired):  # it has ended otherwise
            process.wait(0.1)
    pytest.fail("the proxy does not answer")


@pytest.mark.parametrize(
    ("name", "file", "command"),
    [("nginx", "nginx.conf", nginx_command), ("haproxy", "haproxy.cfg", haproxy_command)],
)
def test_a_server_behind_a_proxy_dies_in_the_middle_of_a_dataset(
    name: str, file: str, command: Callable[[str, Path], list[str]], tmp_path: Path
) -> None:
    program = shutil.which(name, path=FOLDERS)
    if program is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    configuration = (ROOT / "examples/serving" / file).read_text("utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with ExitStack() as stack:
        (first, one), (_, other) = (stack.enter_context(server()) for _ in range(2))
        for documented, real in (
            ("gpu-1:6655", one),
            ("gpu-2:6655", other),
            ("127.0.0.1:8080", f"127.0.0.1:{port}"),
        ):
            configuration, count = re.subn(rf"(?<= ){documented}(?=[ ;\n])", real, configuration)
            assert count == 1
        (tmp_path / file).write_text(configuration)
        stack.enter_context(proxy(command(program, tmp_path / file), port))

        def kill(progress: DatasetProgress) -> None:
            if progress.ended_count:
                first.kill()

        run = generate_dataset(
            [{"prompt": f"fox {number}", "width": 64, "height": 64} for number in range(ROWS)],
            tmp_path / "out",
            servers=f"http://127.0.0.1:{port}",
            on_progress=kill,
            outage_timeout=60.0,
        )

    assert first.returncode is not None
    assert (run.progress.done, run.progress.failed) == (ROWS, 0)
    assert len(list((tmp_path / "out/images").rglob("*.png"))) == ROWS
