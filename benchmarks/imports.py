"""Measure the CPU of `import vllm_image_core` against that of the two packages that it is built on.

Run it with `uvx nox -s bench -- imports`. The imports are run in turn in one run, each in a process of its
own, so that a busy machine slows all of them. A first run of each only fills the bytecode caches, in a
folder of this benchmark's own, as the environment may forbid caches. A ratio is the median over the rounds
of its CPU to that of `import pydantic, PIL` in the same round, with the CPU of an empty process taken off
both. Exits with 1 if a ratio is above its goal.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Final

ROUNDS: Final = 25
BARE: Final = "pass"
BASE: Final = "import pydantic, PIL"
GOALS: Final[dict[str, float | None]] = {
    "import vllm_image_core": 1.3,
    "from vllm_image_core import ImageRequest": None,
    "from vllm_image_core import Studio": None,
    "from vllm_image_core import BlockingStudio": None,
}
"""The goal of each ratio; None if it is shown only."""


def cpu_seconds(code: str, environment: Mapping[str, str]) -> float:
    """The CPU that a process takes for some code, in seconds."""
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{code!r} failed")
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Measure, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    rounds = parser.parse_args().rounds
    codes = [BARE, BASE, *GOALS]
    seconds: dict[str, list[float]] = {code: [] for code in codes}
    with tempfile.TemporaryDirectory() as cache:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache
        for number in range(rounds + 1):
            for code in random.sample(codes, len(codes)):
                taken = cpu_seconds(code, environment)
                if number:
                    seconds[code].append(taken)
    print(f"CPU of imports, {rounds} rounds, without the interpreter's own; ratio to {BASE!r}:")
    met = True
    for code in codes[1:]:
        own = [taken - bare for taken, bare in zip(seconds[code], seconds[BARE], strict=True)]
        ratios = [one / base for one, base in zip(own, _base(seconds), strict=True)]
        ratio, goal = statistics.median(ratios), GOALS.get(code)
        met &= goal is None or ratio <= goal
        shown = "" if goal is None else f"  (goal: at most {goal})"
        print(f"{code:45} {1000 * statistics.median(own):7.0f} ms  {ratio:5.2f}{shown}")
    return 0 if met else 1


def _base(seconds: dict[str, list[float]]) -> list[float]:
    pairs = zip(seconds[BASE], seconds[BARE], strict=True)
    return [max(base - bare, 0.001) for base, bare in pairs]


if __name__ == "__main__":
    sys.exit(main())
