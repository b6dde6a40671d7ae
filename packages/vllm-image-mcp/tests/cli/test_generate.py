"""The command `generate`: what it prints, and with which status it ends."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result
from PIL import Image

if TYPE_CHECKING:
    from conftest import OmniServer

Run = Callable[..., Result]

SMALL = ("--width", "64", "--height", "64")
SIMULATED = "Demo mode: images are simulated; a program draws them, not a model."


def facts(output: str) -> dict[str, str]:
    """The indented lines, as names and values."""
    lines = [line.split(None, 1) for line in output.splitlines() if line.startswith("  ")]
    return {name: value for name, value in lines if name != "note"}


def test_the_first_command_of_the_readme_prints_path_size_seed_model_and_time(
    run: Run, tmp_path: Path
) -> None:
    result = run("generate", "--demo", "a red fox in the snow")
    assert (result.exit_code, result.stderr) == (0, "")
    path = Path(result.stdout.splitlines()[0])
    assert path.parent == tmp_path / "generated_images"
    told = facts(result.stdout)
    assert told.pop("time").endswith(" s")
    assert told.pop("seed").isdecimal()
    assert told == {"size": "1024x1024", "model": "black-forest-labs/FLUX.2-klein-4B", "steps": "4"}
    assert f"note   {SIMULATED}" in result.stdout
    with Image.open(path) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (1024, 1024))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("all", {b"birthday", b"127.0.0.1", b"num_inference_steps"}),
        ("public", {b"num_inference_steps"}),
        ("none", set[bytes]()),
    ],
)
def test_the_metadata_to_write_is_an_option(
    run: Run, omni: "OmniServer", what: str, told: set[bytes]
) -> None:
    result = run("generate", "--vllm-url", omni.url, "a birthday present", *SMALL, "--metadata", what)
    assert result.exit_code == 0, result.output
    content = Path(result.stdout.splitlines()[0]).read_bytes()
    assert {part for part in (b"birthday", b"127.0.0.1", b"num_inference_steps") if part in content} == told
    assert b"digitalsourcetype" in content


def test_the_parameters_of_an_image_are_options(run: Run, omni: "OmniServer", tmp_path: Path) -> None:
    omni.runs("Qwen/Qwen-Image")
    result = run(
        *("generate", "--vllm-url", omni.url, "a red fox", *SMALL, "--negative-prompt", "blurry"),
        *("--steps", "3", "--guidance-scale", "2.5", "--seed", "42", "--filename", "fox"),
    )
    assert result.exit_code == 0, result.stderr
    assert omni.requests == [
        {
            "prompt": "a red fox",
            "model": "Qwen/Qwen-Image",
            "n": 1,
            "size": "64x64",
            "response_format": "b64_json",
            "output_compression": 90,
            "output_format": "png",
            "negative_prompt": "blurry",
            "num_inference_steps": 3,
            "true_cfg_scale": 2.5,
            "seed": 42,
        }
    ]
    assert result.stdout.splitlines()[0] == str(tmp_path / "generated_images" / "fox.png")


def test_an_aspect_ratio_is_an_option(run: Run, omni: "OmniServer") -> None:
    assert run("generate", "--vllm-url", omni.url, "a red fox", "--aspect-ratio", "16:9").exit_code == 0
    assert omni.requests[0]["size"] == "1024x576"


def test_the_seed_minus_one_is_random(run: Run, omni: "OmniServer") -> None:
    for seed in ("-1", "-1", "-2"):
        assert run("generate", "--vllm-url", omni.url, "a red fox", "--seed", seed).exit_code == 0
    one, other, given = (request["seed"] for request in omni.requests)
    assert (min(one, other) >= 0, one != other, given) == (True, True, -2)


@pytest.mark.parametrize("name", ["jpg", "JPG", "jpeg", "JPEG"])
def test_the_usual_extension_of_a_jpeg_names_its_format(run: Run, omni: "OmniServer", name: str) -> None:
    result = run("generate", "--vllm-url", omni.url, "a red fox", "--output-format", name, "--width", "64")
    assert result.stdout.splitlines()[0].endswith(".jpg"), result.output


def test_an_image_with_a_seed_is_generated_once_and_fresh_generates_it_again(
    run: Run, omni: "OmniServer"
) -> None:
    command = ("generate", "--vllm-url", omni.url, "a red fox", "--seed", "42", "--width", "64")
    paths = [run(*command, *more).stdout.splitlines()[0] for more in ((), (), ("--fresh",))]
    assert paths[0] == paths[1] != paths[2]
    assert len(omni.requests) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's signals")
def test_resume_finishes_the_image_of_a_command_that_was_killed(
    run: Run, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(0)
    words = ["generate", "a red fox", "--seed", "7", *SMALL, "--vllm-url", omni.url]
    killed = subprocess.Popen([sys.executable, "-m", "vllm_image_mcp", *words], cwd=tmp_path)
    omni.wait_for(1)
    killed.kill()
    killed.wait()
    omni.release()
    (listed,) = run("batches").stdout.splitlines()
    again = run("resume", listed.split()[0], "--vllm-url", omni.url)
    assert again.exit_code == 0, again.output
    assert [request["seed"] for request in omni.requests] == [7, 7]
    assert len(list((tmp_path / "generated_images").glob("*.png"))) == 1


def test_an_impossible_image_is_an_expected_failure(run: Run) -> None:
    result = run("generate", "--demo", "a red fox", "--width", "1000")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: Width 1000 is not a multiple of 16. Nearest valid width is 1008." in result.stderr


def test_a_server_that_is_down_is_an_expected_failure_with_a_next_step(run: Run, nobody: str) -> None:
    result = run("generate", "--vllm-url", nobody, "a red fox")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{nobody} cannot be reached" in result.stderr
    assert "vllm serve MODEL --omni --port PORT" in result.stderr
    assert "Traceback" not in result.stderr


def test_quiet_prints_only_the_path(run: Run, tmp_path: Path) -> None:
    result = run("generate", "--demo", "a red fox", *SMALL, "-q", "--filename", "fox")
    assert (result.stdout, result.stderr) == (f"{tmp_path / 'generated_images' / 'fox.png'}\n", "")


def test_json_is_one_line_with_the_keys_of_the_tool(run: Run) -> None:
    [line] = run("generate", "--demo", "a red fox", *SMALL, "--json", "--seed", "7").stdout.splitlines()
    told = json.loads(line)
    assert Path(told["file_path"]).is_file()
    assert (told["status"], told["parameters_used"]["seed"]) == ("success", 7)


def test_open_shows_the_image_in_the_viewer_of_the_system(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("click.launch", shown.append)
    result = run("generate", "--demo", "a red fox", *SMALL, "-q", "--open")
    assert shown == result.stdout.splitlines()


def test_several_images_have_different_seeds_and_quiet_prints_their_paths(run: Run, tmp_path: Path) -> None:
    result = run("generate", "--demo", "-q", "-n", "3", "--width", "64", "--height", "64", "a fox")
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert (result.exit_code, len({path.read_bytes() for path in paths}), result.stderr) == (0, 3, "")
    assert {path.parent for path in paths} == {tmp_path / "generated_images"}


def test_the_first_of_several_is_opened(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    result = run("generate", "--demo", "-q", "-n", "2", "--open", "--width", "64", "--height", "64", "a fox")
    assert opened == result.stdout.splitlines()[:1]


@pytest.mark.parametrize(
    ("option", "values", "axis"), [("--seed", "1,2,3", "seed"), ("--steps", "4..8", "steps")]
)
def test_several_values_of_one_option_lead_to_sweep(run: Run, option: str, values: str, axis: str) -> None:
    result = run("generate", "--demo", "a fox", option, values)
    assert result.exit_code == 2
    assert f"use `vllm-image-mcp sweep PROMPT --sweep {axis}={values}`" in result.stderr
    assert "sweep PROMPT" not in run("generate", "--demo", "a fox", option, "many").stderr
