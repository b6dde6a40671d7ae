"""Styles are listed, shown, saved and removed at a shell."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from vllm_image_core import Styles
from vllm_image_mcp.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLLM_IMAGE_STYLES_DIR", str(tmp_path))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["styles", *arguments])


def test_a_style_is_saved_listed_shown_and_removed(folder: Path) -> None:
    saved = run("save", "Dusk", "--suffix", ", at dusk", "--set", "guidance_scale=4.5", "--set", "steps=30")
    assert saved.output == f"{folder / 'dusk.toml'}\n"
    assert Styles(folder).find("dusk").settings == {"guidance_scale": 4.5, "num_inference_steps": 30}
    lines = [line.split()[:2] for line in run().output.splitlines()]
    assert ["dusk", "*"] in lines
    assert ["watercolor", "Transparent"] in lines
    assert 'suffix = ", at dusk"' in run("show", "dusk").output
    assert json.loads(run("show", "dusk", "--json").output)["settings"]["num_inference_steps"] == 30
    assert run("remove", "dusk").output == f"Removed {folder / 'dusk.toml'}\n"
    assert [json.loads(line)["own"] for line in run("--json").output.splitlines()] == [False] * 15


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (("show",), 2, "styles show needs the NAME"),
        (("show", "dsk"), 1, "There is no style 'dsk'."),
        (("show", "dsk"), 1, "`vllm-image-mcp styles` lists all styles."),
        (("save", "dusk", "--set", "guidance"), 2, "write NAME=VALUE"),
        (("save", "dusk", "--set", "seed=4"), 1, "'settings.seed' is not a key of a style"),
        (("save", "dusk", "--set", "steps=many"), 1, "'many' is not an integer"),
        (("remove", "photo"), 1, "comes with this package"),
    ],
)
def test_an_impossible_action_says_why(arguments: tuple[str, ...], status: int, why: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, why in result.output) == (status, True), result.output


def test_nothing_is_overwritten_unless_requested(folder: Path) -> None:
    run("save", "dusk", "--suffix", ", a")
    assert run("save", "dusk", "--suffix", ", b").exit_code == 1
    assert run("save", "dusk", "--suffix", ", b", "--overwrite").exit_code == 0
    assert Styles(folder).find("dusk").suffix == ", b"
