"""Measure what a saved, indexed and described image costs, compared with the plain loops of other clients.

Run it with `uvx nox -s bench -- studio`. `Studio.batch` records each request before it is sent, checks the
image, writes its metadata into the file, syncs it to disk, indexes it and learns from it; the openai SDK's
loop decodes the reply and writes the bytes. All get the same reply from a stand-in server, 4 at a time, and
each runs in a process and an environment of its own. Rounds are interleaved, CPU time of the process counts,
and ratios and differences are taken within a round. Exits with 1 if a goal is missed.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from _peers import Round, competitors, interleave
from _server import stand_in

LARGE = Round(side=1024, count=32, at_once=4)
SMALL = Round(side=256, count=128, at_once=4)
OPENAI, CLIENT, BATCH = "openai SDK", "client, into=", "Studio.batch"
PEERS = (OPENAI, "client, in memory", CLIENT, "Studio.generate", BATCH)
RATIO_GOAL = 0.65
"""Maximum ratio of a batch's CPU time per large image to the openai SDK's."""
EXTRA_GOAL_MS = 2.5
"""Maximum CPU milliseconds of a batch per small image beyond the client's own."""
ROUNDS = 9


def main() -> int:
    """Measure, print the tables, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least 2 ({ROUNDS})")
    rounds = max(2, parser.parse_args().rounds)
    with (
        stand_in() as urls,
        tempfile.TemporaryDirectory() as folder,
        competitors(PEERS, urls.in_json, Path(folder, "peers")) as peers,
    ):
        large = interleave(peers, LARGE, rounds=rounds)
        small = interleave(peers, SMALL, rounds=rounds)
    print(f"CPU per image of 1024x1024, request to file, {rounds} rounds of {LARGE.count}")
    ratio = _print_table(large, OPENAI, lambda ours, theirs: ours / theirs, "x openai's")
    print(f"\nCPU per image of 256x256, {rounds} rounds of {SMALL.count}")
    extra = _print_table(small, CLIENT, lambda ours, theirs: ours - theirs, "ms beyond the client's")
    met = [
        _verdict(ratio, RATIO_GOAL, "of the openai SDK's, Studio.batch at 1024x1024"),
        _verdict(extra, EXTRA_GOAL_MS, "ms beyond the client's, Studio.batch at 256x256"),
    ]
    return 0 if all(met) else 1


def _print_table(
    spent: Mapping[str, Sequence[float]],
    baseline: str,
    compare: Callable[[float, float], float],
    unit: str,
) -> float:
    """Print each peer's milliseconds and how they compare within a round; return the batch's median."""
    medians: dict[str, float] = {}
    for name, times in spent.items():
        compared = [compare(*pair) for pair in zip(times, spent[baseline], strict=True)]
        medians[name] = statistics.median(compared)
        low, *_, high = statistics.quantiles(compared, n=10)
        print(
            f"  {name:18} {statistics.median(times):7.2f} ms   {medians[name]:6.2f} {unit}"
            f" ({low:.2f} to {high:.2f})"
        )
    return medians[BATCH]


def _verdict(value: float, goal: float, what: str) -> bool:
    print(f"{'met' if value <= goal else 'MISSED'}: {value:.2f} {what}; at most {goal:.2f}")
    return value <= goal


if __name__ == "__main__":
    sys.exit(main())
