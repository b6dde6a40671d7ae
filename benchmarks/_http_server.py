"""Start `vllm-image-mcp serve` over HTTP on a free port, for benchmarks of many clients."""

import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO

import psutil

MOST_SHOWN = 20
"""Lines of the server's log that are printed."""


@contextmanager
def http_server(*options: str) -> Generator[tuple[psutil.Process, str]]:
    """Serve until the block ends; yield the process and the address of the MCP endpoint."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_IMAGE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "vllm_image_mcp", "serve", "--transport", "http", "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=clean,
    )
    assert process.stderr
    try:
        line = process.stderr.readline()
        assert "Serving MCP at" in line, line
        log = threading.Thread(target=_show, args=(process.stderr,))  # a full pipe would stop the server
        log.start()
        yield psutil.Process(process.pid), line.split()[3].rstrip(".")
    finally:
        process.kill()
        process.wait()


def _show(log: IO[str]) -> None:
    """Print the first lines of the server's log, and how long it is."""
    lines = 0
    with log:
        for lines, line in enumerate(log, 1):
            if lines <= MOST_SHOWN:
                print(line.rstrip())
    print(f"{lines} lines in the server's log")
