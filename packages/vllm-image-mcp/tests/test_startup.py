"""What a start imports: hosts wait for the server's first answer, people for --help."""

import logging
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from vllm_image_mcp.cli import main
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.startup import check_output_folder

SLOW = frozenset({"PIL", "httpx", "pydantic_settings", "pynvml", "starlette", "tenacity", "uvicorn"})


def modules_after(code: str) -> frozenset[str]:
    """The names of all modules that are imported once a new interpreter has run some code."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('\\n', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(run.stdout.rpartition("\n ")[2].split())


@pytest.mark.parametrize("settings", ["", "demo=True"])
def test_the_server_starts_with_only_the_errors_and_texts_of_core_and_client(
    settings: str,
) -> None:
    loaded = modules_after(
        "from vllm_image_mcp.server import build_server\n"
        "from vllm_image_mcp.settings import Settings\n"
        f"build_server(Settings({settings}))"
    )
    bare = modules_after("from mcp.server import MCPServer")
    ours = {name for name in loaded if name.startswith(("vllm_image_core.", "vllm_omni_client."))}
    assert ours == {
        "vllm_image_core.errors",
        "vllm_image_core.file_url",
        "vllm_image_core.text",
        "vllm_omni_client._statuses",
        "vllm_omni_client._text",
        "vllm_omni_client.errors",
    }
    assert loaded & SLOW - bare == frozenset()


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_help_and_version_need_no_server_no_models_and_no_images(option: str) -> None:
    loaded = modules_after(f"from vllm_image_mcp.cli import main\nmain([{option!r}], standalone_mode=False)")
    loaded -= modules_after("")  # what measures the coverage of the tests
    core = ("imaging", "models.settings", "provenance", "storage", "estimation", "batches", "studio")
    slow = {*SLOW, "mcp", "pydantic", "sqlite3", "asyncio"}
    assert loaded & {*slow, *(f"vllm_image_core.{name}" for name in core)} == frozenset()


@pytest.mark.parametrize("command", ["models", "batches", "find"])
def test_a_command_that_reads_a_table_imports_no_http_no_pillow_and_no_estimator(
    command: str, tmp_path: Path
) -> None:
    arguments = [command, *(() if command == "models" else ("--output-dir", str(tmp_path)))]
    loaded = modules_after(f"from vllm_image_mcp.cli import main\nmain({arguments!r}, standalone_mode=False)")
    slow = {*SLOW, "mcp", "vllm_omni_client.models", "vllm_omni_client.edits"}
    layers = ("estimation", "fleet", "generation", "studio", "batches.worker_pool")
    assert loaded & {*slow, *(f"vllm_image_core.{name}" for name in layers)} == frozenset()


def test_the_help_lists_each_command_with_the_first_sentence_of_its_own_help() -> None:
    context = click.Context(main)
    listed = CliRunner().invoke(main, ["--help"]).stdout.partition("\nCommands:\n")[2].partition("\n\n")[0]
    told = " ".join(listed.split())
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert f"{name} {command.get_short_help_str(1_000)}" in told


def test_an_unknown_command_suggests_a_similar_one() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "vllm_image_mcp", "generrate"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "generate" in run.stderr


def test_on_windows_an_impossible_folder_ends_the_start_and_a_missing_drive_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")  # emulated
    check_output_folder(Settings())
    check_output_folder(Settings.from_arguments(output_dir=Path("images")))
    with pytest.raises(click.ClickException, match="ends with a dot or a space"):
        check_output_folder(Settings.from_arguments(output_dir=Path("images. ")))
    with caplog.at_level(logging.WARNING):
        check_output_folder(Settings.from_arguments(output_dir=Path("Q:/images")))
    assert "is not there, so images cannot be saved in Q:" in caplog.text


def test_on_a_mac_a_missing_drive_is_a_warning_at_startup(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")  # emulated
    with caplog.at_level(logging.WARNING):
        check_output_folder(Settings.from_arguments(output_dir=Path("/Volumes/Foxes/pics")))
    assert "The drive /Volumes/Foxes is not there" in caplog.text
