"""The commands for a person at a shell: what they print, and with which status they end."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from vllm_image_mcp.cli.main import main

if TYPE_CHECKING:
    from conftest import OmniServer

Run = Callable[..., Result]

SMALL = ("--width", "64", "--height", "64")
SIMULATED = "Demo mode: pictures are simulated, drawn by a procedure and not by a model."


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(main, arguments, env=env, input=stdin, prog_name="vllm-image-mcp")

    return command


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
def test_what_a_file_tells_of_its_making_is_an_option(
    run: Run, omni: "OmniServer", what: str, told: set[bytes]
) -> None:
    result = run("generate", "--vllm-url", omni.url, "a birthday present", *SMALL, "--metadata", what)
    assert result.exit_code == 0, result.output
    content = Path(result.stdout.splitlines()[0]).read_bytes()
    assert {part for part in (b"birthday", b"127.0.0.1", b"num_inference_steps") if part in content} == told
    assert b"digitalsourcetype" in content


def test_the_parameters_of_a_picture_are_options(run: Run, omni: "OmniServer", tmp_path: Path) -> None:
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


def test_a_picture_with_a_seed_is_made_once_and_fresh_makes_it_anew(run: Run, omni: "OmniServer") -> None:
    command = ("generate", "--vllm-url", omni.url, "a red fox", "--seed", "42", "--width", "64")
    paths = [run(*command, *more).stdout.splitlines()[0] for more in ((), (), ("--fresh",))]
    assert paths[0] == paths[1] != paths[2]
    assert len(omni.requests) == 2


@pytest.mark.skipif(os.name != "posix", reason="a POSIX system's signals")
def test_a_picture_of_a_command_that_was_killed_is_made_by_the_command_resume(
    run: Run, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.hold_after(0)
    words = ["generate", "a red fox", "--seed", "7", *SMALL, "--vllm-url", omni.url]
    killed = subprocess.Popen([sys.executable, "-m", "vllm_image_mcp.cli.main", *words], cwd=tmp_path)
    omni.wait_for(1)
    killed.kill()
    killed.wait()
    omni.release()
    (listed,) = run("batches").stdout.splitlines()
    again = run("resume", listed.split()[0], "--vllm-url", omni.url)
    assert again.exit_code == 0, again.output
    assert [request["seed"] for request in omni.requests] == [7, 7]
    assert len(list((tmp_path / "generated_images").glob("*.png"))) == 1


def test_a_picture_that_cannot_be_is_an_expected_failure(run: Run) -> None:
    result = run("generate", "--demo", "a red fox", "--width", "1000")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: Width 1000 is not a multiple of 16. Nearest valid width is 1008." in result.stderr


def test_a_server_that_is_down_is_an_expected_failure_with_a_next_step(run: Run, nobody: str) -> None:
    result = run("generate", "--vllm-url", nobody, "a red fox")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{nobody} cannot be reached" in result.stderr
    assert "vllm serve MODEL --omni --port PORT" in result.stderr
    assert "Traceback" not in result.stderr


def test_options_may_stand_before_and_after_the_command_and_the_later_wins(
    run: Run, omni: "OmniServer", nobody: str, tmp_path: Path
) -> None:
    result = run(
        *("--vllm-url", nobody, "--output-dir", "before"),
        *("generate", "--vllm-url", omni.url, "a red fox", *SMALL),
    )
    assert result.exit_code == 0, result.stderr
    assert Path(result.stdout.splitlines()[0]).parent == tmp_path / "before"


def test_the_demo_may_be_asked_for_before_the_command(run: Run) -> None:
    assert run("--demo", "generate", "a red fox", *SMALL).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate",),
        ("generate", "--demo", "a red fox", "--seed", "seven"),
        ("generate", "--demo", "a red fox", "--colour", "red"),
        ("paint",),
        ("batch", "missing.txt"),
        ("batch",),
    ],
)
def test_a_command_line_that_makes_no_sense_is_a_usage_error(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: vllm-image-mcp" in result.stderr


def test_a_batch_makes_a_picture_for_each_line(run: Run, omni: "OmniServer", tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes(
        "\ufeffa red fox\r\n\r\n  an owl  \r\nein Fuchs im Schnee ❄️\r\n".encode()
    )
    result = run("batch", "--vllm-url", omni.url, "prompts.txt", *SMALL, "--steps", "2")
    assert result.exit_code == 0, result.stderr
    assert [sent["prompt"] for sent in omni.requests] == ["a red fox", "an owl", "ein Fuchs im Schnee ❄️"]
    assert {sent["num_inference_steps"] for sent in omni.requests} == {2}
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["[1/3]", "[2/3]", "[3/3]"]
    assert {line.split()[1] for line in lines} == {
        str(path) for path in (tmp_path / "generated_images").glob("*.png")
    }
    assert "3 made, 0 failed" in result.stderr


def test_a_line_that_fails_is_named_by_its_number_in_the_file_and_stops_nothing(
    run: Run, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.failures["an owl"] = (400, "no owls here")
    (tmp_path / "prompts.txt").write_text("a red fox\n\nan owl\na hare\n")
    result = run("batch", "--vllm-url", omni.url, "prompts.txt", *SMALL)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert "line 3 failed: " in result.stderr
    assert "no owls here" in result.stderr
    assert "2 made, 1 failed" in result.stderr


def test_a_batch_may_come_from_standard_input_and_be_longer_than_that_of_a_tool(
    run: Run, omni: "OmniServer"
) -> None:
    prompts = "\n".join(f"fox {number}" for number in range(21)).encode()
    result = run("batch", "--vllm-url", omni.url, "-", *SMALL, stdin=prompts)
    assert result.exit_code == 0, result.stderr
    assert len(omni.requests) == 21


def test_the_notes_of_a_batch_are_told_once(run: Run, omni: "OmniServer", tmp_path: Path) -> None:
    omni.runs("acme/painter")
    (tmp_path / "prompts.txt").write_text("a red fox\nan owl\n")
    result = run("batch", "--vllm-url", omni.url, "prompts.txt", *SMALL)
    assert result.stderr.count("Model 'acme/painter' is not in the known profiles.") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "prompts.txt holds no prompt; write one on each line."),
        (b"\xef\xbb\xbf \r\n\n", "prompts.txt holds no prompt; write one on each line."),
        ("ein Füchslein".encode("latin-1"), "prompts.txt is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_a_file_without_prompts_is_a_usage_error(
    run: Run, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    result = run("batch", "--demo", "prompts.txt")
    assert result.exit_code == 2
    assert words in result.stderr


def test_the_models_that_are_known_are_listed_with_their_settings(run: Run) -> None:
    result = run("models")
    assert (result.exit_code, result.stderr) == (0, "")
    names = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert {
        "Qwen/Qwen-Image",
        "Qwen/Qwen-Image-2512",
        "Tongyi-MAI/Z-Image",
        "Tongyi-MAI/Z-Image-Turbo",
        "black-forest-labs/FLUX.2-klein-4B",
        "black-forest-labs/FLUX.2-klein-9B",
    } < set(names)
    assert "  distilled, 4 steps, guidance 1, 1024x1024, about 16 GB" in result.stdout
    assert "16:9 1664x928" in result.stdout


def test_a_healthy_server_is_told(run: Run, omni: "OmniServer") -> None:
    result = run("health", "--vllm-url", omni.url)
    assert (result.exit_code, result.stderr) == (0, "")
    told = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert told.pop("answer").endswith(" ms")
    assert told == {
        "server": omni.url,
        "status": "healthy",
        "model": "black-forest-labs/FLUX.2-klein-4B",
        "version": "0.30.0",
    }


def test_each_of_several_servers_is_told_and_one_that_is_down_is_no_failure(
    run: Run, omni: "OmniServer", nobody: str
) -> None:
    result = run("health", "--vllm-url", nobody, "--vllm-url", omni.url)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-2:] == [
        f"  {nobody}  out  no model  unknown version",
        f"  {omni.url}  in  black-forest-labs/FLUX.2-klein-4B  0.30.0",
    ]
    assert f"{nobody} cannot be reached" in result.stderr


def test_a_server_that_is_down_is_told_and_the_status_is_one(run: Run, nobody: str) -> None:
    result = run("health", "--vllm-url", nobody)
    assert result.exit_code == 1
    assert "status   unreachable" in result.stdout
    assert f"{nobody} cannot be reached" in result.stderr


def test_the_key_is_never_printed(run: Run, omni: "OmniServer") -> None:
    omni.runs("black-forest-labs/FLUX.2-klein-4B", api_key="sesame")
    made = run("generate", "--vllm-url", omni.url, "a red fox", *SMALL, env={"VLLM_IMAGE_API_KEY": "sesame"})
    refused = run("generate", "--vllm-url", omni.url, "a red fox", "--api-key", "canary")
    assert (made.exit_code, refused.exit_code) == (0, 1)
    assert "--api-key or VLLM_IMAGE_API_KEY" in refused.stderr
    assert "sesame" not in made.output
    assert "canary" not in refused.output


def test_the_version_is_told(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert "0.1.0" in result.stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_help_names_every_command_and_option(run: Run, flag: str) -> None:
    text = run(flag).stdout
    words = ("generate", "batch", "models", "health", "--vllm-url", "--output-dir", "--max-concurrent")
    more = ("--timeout", "--api-key", "--demo", "--log-level", "--version", "--gpu-name", "--gpu-vram-gb")
    assert [word for word in (*words, *more) if word not in text] == []
