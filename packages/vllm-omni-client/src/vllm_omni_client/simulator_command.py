"""Run the command `vllm-omni-simulator`, or say what to install if the simulator's packages are missing."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted.

    Args:
        arguments: The command line without the program's name; None reads `sys.argv`.

    Returns:
        The exit code of `vllm_omni_client.simulator.__main__.main`, or 1 if a package is missing.
    """
    try:
        from vllm_omni_client.simulator.__main__ import main as serve  # noqa: PLC0415 - its packages come with an extra
    except ModuleNotFoundError as error:
        sys.stderr.write(f"vllm-omni-simulator cannot start: {error}\n")
        return 1
    return serve(arguments)
