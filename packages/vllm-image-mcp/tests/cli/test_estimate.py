"""The command `estimate`: what it prints of time and memory."""

import json
from collections.abc import Callable

from click.testing import Result

RunIn = Callable[..., Result]


def test_time_and_memory_are_printed_with_what_they_are_based_on(run_in: RunIn) -> None:
    result = run_in("estimate", "100")
    told = dict(line.split(None, 1) for line in result.stdout.replace("at once", "at_once").splitlines())
    assert result.exit_code == 0
    assert told["size"] == "1024x1024"
    assert told["memory"] == "18.0 GB (from the profile)"
    assert told["total"].startswith("about ")
    assert told["basis"].startswith("nothing measured yet")
    assert "nothing measured yet" not in result.stderr
    assert "from the profile" not in result.stderr
    assert "The profile's time is for one NVIDIA H100." in result.stderr.splitlines()


def test_json_has_the_keys_of_the_tool(run_in: RunIn) -> None:
    one = json.loads(run_in("estimate", "--json", "--steps", "4").stdout)
    ten = json.loads(run_in("estimate", "10", "--json", "--steps", "4").stdout)
    assert ten["estimated_total_time_seconds"] > 5 * one["estimated_total_time_seconds"]
    assert one["resolution"] == "1024x1024"


def test_an_impossible_size_is_refused_in_the_words_of_the_shell(run_in: RunIn) -> None:
    result = run_in("estimate", "--steps", "0")
    assert result.exit_code == 1
    assert "Error: --steps: 0 is out of range." in result.stderr
