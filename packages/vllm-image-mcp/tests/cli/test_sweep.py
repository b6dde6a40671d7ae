"""The command `sweep`: variations of prompts, and their grid."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result
from PIL import Image

if TYPE_CHECKING:
    from conftest import OmniServer

RunIn = Callable[..., Result]
SMALL = ("--width", "64", "--height", "64")


def test_prompts_are_varied_and_drawn_in_a_grid(run_in: RunIn, omni: "OmniServer", tmp_path: Path) -> None:
    axes = ("--sweep", "seed=1..3", "--sweep", "red=red,dark blue")
    grid = ("--grid", str(tmp_path / "grid.jpg"))
    result = run_in("sweep", "a red fox", "a red owl", *axes, *SMALL, *grid, url=omni.url)
    assert result.exit_code == 0, result.stderr
    assert sorted((sent["prompt"], sent["seed"]) for sent in omni.requests) == sorted(
        (f"a {colour} {animal}", seed)
        for animal in ("fox", "owl")
        for colour in ("red", "dark blue")
        for seed in (1, 2, 3)
    )
    assert result.stdout.splitlines()[-1] == str(tmp_path / "grid.jpg")
    with Image.open(tmp_path / "grid.jpg") as drawn:
        assert drawn.format == "JPEG"


def test_a_dry_run_prints_images_time_and_disk_space_and_sends_nothing(
    run_in: RunIn, omni: "OmniServer", tmp_path: Path
) -> None:
    result = run_in("sweep", "a fox", "--count", "4", "--sweep", "steps=2,4", "--dry-run", url=omni.url)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("8 images, about ")
    assert "of disk space" in result.stdout
    assert omni.requests == []
    assert not (tmp_path / "made").exists()


def test_lists_may_be_paired_and_given_as_json(run_in: RunIn, omni: "OmniServer") -> None:
    lists = ("--sweep", "size=64x64,128x64", "--sweep", 'seed=[5, "6"]', "--zip")
    result = run_in("sweep", "a fox", *lists, "--filename", "fox.webp", "--json", url=omni.url)
    assert result.exit_code == 0, result.stderr
    assert sorted((sent["size"], sent["seed"]) for sent in omni.requests) == [("128x64", 6), ("64x64", 5)]
    assert '"path": "' in result.stdout
    assert result.stdout.count("fox_1.webp") == result.stdout.count("fox_2.webp") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sweep", "seed"), "'seed' is not NAME=A,B,...; use seed=1,2,3, for example."),
        (("--sweep", "seed=[1"), "'[1' is not a JSON list"),
        (("--sweep", "sead=1,2"), "sweep has 'sead', which is neither a parameter nor in the prompt."),
        (("--sweep", "steps=4,many"), "--steps: 'many' is not an integer."),
        (("--sweep", "seed=1..5000"), "1..5000 has 5000 values; a batch takes at most 1000 images."),
        (("--count", "0"), "-n: 0 is out of range."),
        (("--grid", "grid.png"), "grid.png is not the name of a JPEG; use grid.jpg."),
    ],
)
def test_invalid_values_are_refused_with_an_explanation(
    run_in: RunIn, omni: "OmniServer", arguments: tuple[str, ...], words: str
) -> None:
    result = run_in("sweep", "a fox", *SMALL, *arguments, url=omni.url)
    assert result.exit_code != 0
    assert words in " ".join(result.stderr.split())
    assert omni.requests == []
