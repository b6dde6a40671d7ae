"""A rehearsal of the release: what is published to an index of packages installs from there and works."""

import functools
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

DEADLINE_SECONDS = 600.0


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder, whose listing of each package is what a simple index answers."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Log nothing."""


@pytest.fixture
def index(dist: Path) -> Iterator[str]:
    """A package index on loopback with our packages only."""
    handler = functools.partial(QuietHandler, directory=str(dist))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_uvx_installs_from_the_index_and_makes_an_image(index: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_IMAGE_")}
    fresh = [
        f"--refresh-package={name}" for name in ("vllm-omni-client", "vllm-image-core", "vllm-image-mcp")
    ]
    done = subprocess.run(
        [
            *("uvx", "--no-config", f"--index={index}", *fresh),
            *("vllm-image-mcp", "generate", "--demo", "--width", "64", "--height", "64", "a red fox"),
        ],
        cwd=tmp_path,
        env={**environment, "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [image] = (tmp_path / "generated_images").glob("*.png")
    assert str(image) in done.stdout
