"""Parse the options of `vllm-omni-simulator` and serve a simulated vLLM-Omni server on a port."""

import argparse
import sys
import time
from collections.abc import Sequence

from pydantic import ValidationError

from vllm_omni_client.simulator.http.app import create_app
from vllm_omni_client.simulator.http.release import release_for
from vllm_omni_client.simulator.http.serving import base_url, create_server, open_listener
from vllm_omni_client.simulator.settings import SimulatorSettings

_LAST_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted.

    Args:
        arguments: The command line without the program's name; None reads `sys.argv`.

    Returns:
        0 after an interrupt, 1 if the server cannot start, 2 (as SystemExit) for an invalid option.
    """
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    host, port = str(options.pop("host")), int(options.pop("port"))
    try:
        settings = SimulatorSettings(**options)
    except ValidationError as error:
        parser.error("; ".join(f"--{_option(each['loc'])}: {each['msg']}" for each in error.errors()))
    try:
        app = create_app(settings)
        listener = open_listener(host, port, refusing=settings.startup_seconds > 0)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"vllm-omni-simulator cannot start: {error}\n")
        return 1
    with listener:
        sys.stderr.write(f"Simulated vLLM-Omni server of {settings.model} on {base_url(listener)}\n")
        release = ".".join(map(str, release_for(settings.server_version).version))
        if not settings.server_version.startswith(f"{release}."):
            sys.stderr.write(f"Version {settings.server_version} is simulated as release {release}.\n")
        sys.stderr.flush()
        time.sleep(settings.startup_seconds)
        create_server(app).run(sockets=[listener])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vllm-omni-simulator",
        description="Simulate a vLLM-Omni image server: the same HTTP API, with drawn images and no GPU.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=_port,
        default=6655,
        help="port to listen on; 0 picks a free one (default: %(default)s)",
    )
    parser.add_argument("--model", help="model to simulate: a Hugging Face id or a path")
    parser.add_argument(
        "--served-model-name",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="names to serve the model under",
    )
    parser.add_argument("--api-key", help="key that requests to /v1 must send")
    parser.add_argument(
        "--server-version",
        help="release to simulate: 0.14.0, 0.16.0 and so on, even ones only, up to 0.30.0 (default)",
    )
    parser.add_argument("--max-num-seqs", type=int, help="how many requests may run together (default: 1)")
    parser.add_argument(
        "--max-generated-image-size", type=int, help="largest image, in pixels (default: 7680*4320)"
    )
    parser.add_argument(
        "--speed", type=float, help="1: as slow as the real model on an H100; 0: no delay (default)"
    )
    parser.add_argument(
        "--vram-gib",
        type=float,
        help="GPU memory in GiB; 0: no GPU (default: 32, or 80 for a model that needs more)",
    )
    parser.add_argument(
        "--lora-paths",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="paths of the LoRA adapters on the simulated server",
    )
    parser.add_argument(
        "--startup-seconds", type=float, help="how long to refuse connections at startup (default: 0)"
    )
    parser.add_argument(
        "--fault",
        dest="faults",
        action="append",
        metavar="SPEC",
        help="make requests fail: KIND[,NAME=VALUE...][@WHEN], such as status,status=429@1 or reset-in@10%%",
    )
    parser.add_argument(
        "--fault-seed", type=int, help="seed that decides which requests a percentage affects (default: 0)"
    )
    parser.add_argument(
        "--control",
        action="store_true",
        help="enable the route /simulator/faults, which controls the faults (default: off)",
    )
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"invalid port value: {text!r}")
    port = int(text)
    if port > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is not between 0 and {_LAST_PORT}")
    return port


def _option(place: tuple[int | str, ...]) -> str:
    return "fault" if place[0] == "faults" else str(place[0]).replace("_", "-")


if __name__ == "__main__":
    sys.exit(main())
