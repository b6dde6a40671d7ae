"""Installs vLLM-Omni on this machine's CPU, starts it with tiny models, runs a command against each server.

    python tests/real_server/run.py FOLDER [COMMAND...]

The command finds a server in OMNI_URL, its key in OMNI_API_KEY, and FOLDER in REAL_SERVER. FOLDER keeps what
is installed (2 GB) for the next time; without a command it is only installed. Needs Python 3.11, with which
vLLM-Omni 0.30.0 was tried; no GPU, and no model from anywhere.
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
INTERPRETER = "python3.11"
KEY = "open-sesame"
SERVERS: Mapping[str, Sequence[str]] = {
    "klein": ("--api-key", KEY, "--served-model-name", "tiny-klein", "second-name"),
    "qwen": (),
}
STARTING_SECONDS = 300.0
INSTALLING_SECONDS = 1200.0
"""Each step of pip; a download that hangs does not hold up whoever waits for it."""
BUILD_TOOLS = ("setuptools==77.0.3", "setuptools_rust", "setuptools_scm", "wheel")
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_LOGGING_COLOR": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


def main(arguments: Sequence[str]) -> int:
    """Run the command against every server; the worst of its exit codes is ours."""
    folder, command = Path(arguments[0]).resolve(), list(arguments[1:])
    try:
        installed(folder)
    except (subprocess.SubprocessError, OSError) as error:
        tell(f"could not be installed: {error}")
        return 1
    worst = 0
    for kind, options in SERVERS.items() if command else ():
        with serving(folder, kind, options) as server:
            key = {"OMNI_API_KEY": KEY} if "--api-key" in options else {}
            told = {"OMNI_URL": server.url, "REAL_SERVER": str(folder)}
            tell(f"running against {kind} on {server.url}")
            done = subprocess.run(command, env={**os.environ, **key, **told}, check=False)
        worst = max(worst, done.returncode)
    return worst


def installed(folder: Path) -> None:
    """Make the environment and the models, unless this very recipe has made them before."""
    files = [path for path in sorted(HERE.rglob("*")) if path.suffix in {".py", ".toml", ".txt"}]
    recipe = hashlib.sha256(b"".join(path.read_bytes() for path in files))
    receipt = folder / "recipe"
    if receipt.is_file() and receipt.read_text() == recipe.hexdigest():
        return
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    environment = folder / "environment"
    subprocess.run([INTERPRETER, "-m", "venv", environment], check=True)
    python = str(environment / "bin" / "python")
    install_packages(python)
    for kind in SERVERS:
        subprocess.run(
            [python, HERE / "tiny_model.py", kind, folder / f"tiny-{kind}"], env=variables(folder), check=True
        )
    receipt.write_text(recipe.hexdigest())
    tell(f"installed in {time.monotonic() - began:.0f} s")


def install_packages(python: str) -> None:
    """PyTorch first, as vLLM is built against it; vLLM without kernels, as images need none of them."""

    def pip(*arguments: str | Path, **environment: str) -> None:
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        subprocess.run(command, env={**os.environ, **environment}, check=True, timeout=INSTALLING_SECONDS)

    pip("torch==2.13.0")
    pip(*BUILD_TOOLS)
    pip("--no-deps", "-r", HERE / "requirements.txt")
    pip(
        *("--no-deps", "--no-build-isolation", "--no-binary=vllm", "vllm==0.30.0"),
        VLLM_TARGET_DEVICE="empty",
        VLLM_VERSION_OVERRIDE="0.30.0",
    )
    plugin = shutil.copytree(
        HERE / "platform", Path(python).parents[2] / "platform"
    )  # it builds where it lies
    pip("--no-deps", "--no-build-isolation", plugin)
    # Built for CUDA, they do not load; without them torchaudio continues in Python.
    for library in Path(python).parents[1].glob("lib/python*/site-packages/torchaudio/lib/*.so"):
        library.unlink()


def variables(folder: Path) -> Mapping[str, str]:
    """The environment of the server's processes."""
    threads = os.environ.get("OMP_NUM_THREADS", "2")
    ours = {"PYTHONPATH": str(HERE / "startup"), "HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": threads}
    return {**os.environ, **QUIET, **ours}


class Server:
    """A server of a tiny model, on a port that stays its own when it is started again."""

    def __init__(self, folder: Path, kind: str, options: Sequence[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        program = folder / "environment" / "bin" / "vllm-omni"
        place = ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
        self._command = [program, "serve", folder / f"tiny-{kind}", "--omni", *place, *options]
        self._variables = variables(folder)
        self._said = folder / f"{kind}-{port}.log"
        self.url = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        """Start its processes, and return at once."""
        with self._said.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._variables, stdout=log, stderr=log, start_new_session=True
            )

    def until_healthy(self) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: It ended or took too long; the end of what it said is in the message.
        """
        began = time.monotonic()
        while time.monotonic() - began < STARTING_SECONDS and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):  # noqa: S310 - our own server
                    tell(f"started in {time.monotonic() - began:.0f} s")
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise RuntimeError(f"The server did not start:\n{self._said.read_text(errors='replace')[-4000:]}")

    def kill(self) -> None:
        """Kill all of its processes at once, as if the machine went down."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self._end(signal.SIGTERM)
        self._end(signal.SIGKILL)

    def _end(self, by: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, by)
            self._process.wait(15)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            return


@contextmanager
def serving(folder: Path, kind: str, options: Sequence[str]) -> Generator[Server]:
    """A server of a tiny model, from when it is healthy until the end of the block.

    Raises:
        RuntimeError: It did not start.
    """
    server = Server(folder, kind, options)
    server.start()
    try:
        server.until_healthy()
        yield server
    finally:
        server.stop()


def tell(text: str) -> None:
    sys.stderr.write(f"real server: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
