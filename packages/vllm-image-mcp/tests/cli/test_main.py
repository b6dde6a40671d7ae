"""The commands for a person at a shell: what they print, and with which status they end."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result
from vllm_image_mcp.cli import OTHER_WORDS, main

if TYPE_CHECKING:
    from conftest import OmniServer

Run = Callable[..., Result]

SMALL = ("--width", "64", "--height", "64")


def test_options_may_come_before_and_after_the_command_and_the_later_wins(
    run: Run, omni: "OmniServer", nobody: str, tmp_path: Path
) -> None:
    result = run(
        *("--vllm-url", nobody, "--output-dir", "before"),
        *("generate", "--vllm-url", omni.url, "a red fox", *SMALL),
    )
    assert result.exit_code == 0, result.stderr
    assert Path(result.stdout.splitlines()[0]).parent == tmp_path / "before"


def test_the_demo_may_be_given_before_the_command(run: Run) -> None:
    assert run("--demo", "generate", "a red fox", *SMALL).exit_code == 0


@pytest.mark.parametrize(
    ("word", "ours"),
    [("delete", "rate reject IMAGE"), ("stop", "cancel ID, or cancel --all"), ("LIST", "find, or batches")],
)
def test_a_word_of_another_program_leads_to_the_command_that_does_it(run: Run, word: str, ours: str) -> None:
    result = run(word, "fox.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"No such command '{word}'. Use: {ours}.\n" in result.stderr


def test_a_word_of_another_program_leads_to_commands_that_exist() -> None:
    for words in OTHER_WORDS.values():
        for each in words.split(", or "):
            assert each.split()[0] in main.list_commands(click.Context(main))
    assert not OTHER_WORDS.keys() & main.list_commands(click.Context(main))


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
def test_a_senseless_command_line_is_a_usage_error(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: vllm-image-mcp" in result.stderr


def test_the_key_is_never_printed(run: Run, omni: "OmniServer") -> None:
    omni.runs("black-forest-labs/FLUX.2-klein-4B", api_key="sesame")
    made = run("generate", "--vllm-url", omni.url, "a red fox", *SMALL, env={"VLLM_IMAGE_API_KEY": "sesame"})
    refused = run("generate", "--vllm-url", omni.url, "a red fox", "--api-key", "canary")
    assert (made.exit_code, refused.exit_code) == (0, 1)
    assert "--api-key or VLLM_IMAGE_API_KEY" in refused.stderr
    assert "sesame" not in made.output
    assert "canary" not in refused.output


def test_the_version_is_reported(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert "0.1.0" in result.stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_help_names_every_command_and_option(run: Run, flag: str) -> None:
    text = run(flag).stdout
    words = ("generate", "batch", "models", "health", "--vllm-url", "--output-dir", "--max-concurrent")
    more = ("--timeout", "--api-key", "--demo", "--log-level", "--version", "--gpu-name", "--gpu-vram-gb")
    assert [word for word in (*words, *more) if word not in text] == []


@pytest.mark.parametrize("before", [True, False])
def test_the_log_level_works_before_and_after_the_command(tmp_path: Path, *, before: bool) -> None:
    level, command = (
        ["--log-level", "DEBUG"],
        ["generate", "a fox", "--demo", "--width", "64", "--height", "64"],
    )
    words = [*level, *command] if before else [*command, *level]
    done = subprocess.run(
        [sys.executable, "-m", "vllm_image_mcp", *words, "--output-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "DEBUG vllm_image_core" in done.stderr


def test_colours_are_for_terminals_and_no_color_removes_them(run: Run) -> None:
    words = ("models", "klein")
    assert "\033" not in run(*words).stdout
    assert CliRunner().invoke(main, words, color=True).stdout.startswith("\033[1mMODEL")
    assert "\033" not in CliRunner().invoke(main, words, color=True, env={"NO_COLOR": "1"}).stdout


@pytest.mark.parametrize("words", [("find",), ("batches",), ("rate", "--help")])
def test_commands_that_only_read_import_neither_models_nor_prompt_expansion(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "vllm_image_mcp", *words]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    modules = {line.rpartition("|")[2].strip() for line in told.splitlines()}
    assert "vllm_image_mcp.cli.shared_options" in modules
    slow = {
        "vllm_image_core.models.profile",
        "vllm_image_core.requests.expansion",
        "tqdm",
        "starlette",
        "mcp",
    }
    assert not slow & modules


def test_the_list_of_commands_has_the_first_sentence_of_each_one_s_help(run: Run) -> None:
    listed = " ".join(run("--help").stdout.split())
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command
        first = " ".join((command.help or "").split("\n\n")[0].split())
        assert f" {name} {first}" in listed
