"""The command `vllm-omni-simulator`: it says what to install where the simulator's packages are missing."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted.

    Args:
        arguments: The command line without the program's name; None for that of this process.

    Returns:
        As `vllm_omni_client.simulator.__main__.main`; 1 where a package is missing.
    """
    try:
        from vllm_omni_client.simulator.__main__ import main as serve  # noqa: PLC0415 - an extra brings its packages
    except ModuleNotFoundError as error:
        sys.stderr.write(f"vllm-omni-simulator cannot start: {error}\n")
        return 1
    return serve(arguments)
