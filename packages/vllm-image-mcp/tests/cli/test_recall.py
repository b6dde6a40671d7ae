"""The command `recall`: what it reads from an image file, and the command that it prints."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from vllm_image_mcp.cli import main

RunIn = Callable[..., Result]


@pytest.fixture
def fox(run_in: RunIn) -> str:
    options = ("--width", "64", "--height", "64", "--seed", "3", "--steps", "2", "-q")
    return run_in("generate", 'it\'s a "red" fox', *options).stdout.strip()


def test_the_last_line_makes_the_same_image_again(run_in: RunIn, fox: str) -> None:
    lines = run_in("recall", fox).stdout.splitlines()
    assert lines[0].split("  ", 1)[0] == "made by"
    starts = {re.match(r"\S+( \S+)? {2,}", line).end() for line in lines[:-1] if "  " in line}  # type: ignore[union-attr]
    assert len(starts) == 1
    assert any(line.split() == ["steps", "2"] for line in lines)
    program, command, *words = shlex.split(lines[-1])
    assert (program, command) == ("vllm-image-mcp", "generate")
    again = run_in(command, *words, "--fresh", "-q").stdout.strip()
    with Image.open(fox) as first, Image.open(again) as second:
        assert first.tobytes() == second.tobytes()


def test_json_has_the_parameters_by_the_names_of_the_tools(run_in: RunIn, fox: str) -> None:
    recalled = json.loads(run_in("recall", "--json", fox).stdout)
    assert recalled["tool"] == "vllm-image"
    assert recalled["parameters"]["num_inference_steps"] == 2
    assert recalled["parameters"]["prompt"] == 'it\'s a "red" fox'


def test_an_edit_is_repeated_with_its_input_images(run_in: RunIn, fox: str) -> None:
    edited = run_in("edit", "make it night", fox, "--seed", "5", "-q").stdout.strip()
    words = shlex.split(run_in("recall", edited).stdout.splitlines()[-1])
    assert words[1:4] == ["edit", "make it night", Path(fox).name]


def test_a_file_of_another_program_is_read_too(run_in: RunIn, tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", "an owl\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 9, Size: 64x64")
    Image.new("RGB", (64, 64)).save(tmp_path / "owl.png", pnginfo=info)
    result = run_in("recall", str(tmp_path / "owl.png"))
    assert re.search("^sampler +Euler a$", result.stdout, re.MULTILINE | re.IGNORECASE)
    assert "--steps 20" in result.stdout.splitlines()[-1]


def test_a_file_without_settings_is_an_error_with_status_one(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "blank.png")
    result = CliRunner().invoke(main, ["recall", str(tmp_path / "blank.png"), "--output-dir", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: " in result.stderr
