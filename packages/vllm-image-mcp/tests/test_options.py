import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import Field
from vllm_image_mcp.options import GroupedOptions, how_to_resume, with_settings
from vllm_image_mcp.settings import Setting, Settings


@click.group(invoke_without_command=True)
@with_settings
def program(settings: Settings) -> None:
    """Print what it was told, where no command does."""
    if click.get_current_context().invoked_subcommand is None:
        click.echo(settings.model_dump_json(include={"vllm_url", "timeout", "demo"}))


@program.command()
@click.argument("word")
@with_settings
def command(settings: Settings, word: str) -> None:
    """Print what it was told."""
    click.echo(word + settings.model_dump_json(include={"vllm_url", "timeout", "demo"}))


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(program, arguments, env=env)


def test_without_options_the_defaults_apply() -> None:
    assert run().stdout == '{"vllm_url":"http://localhost:6655","timeout":300.0,"demo":false}\n'


def test_several_servers_are_repeated_or_separated_by_commas_in_the_environment() -> None:
    given = run("--vllm-url", "http://a", "--vllm-url", "http://b", "command", "fox")
    assert '"vllm_url":"http://a,http://b"' in given.stdout
    assert '"vllm_url":"http://a,http://b"' in run(env={"VLLM_IMAGE_URL": "http://a, http://b"}).stdout


def test_a_server_that_is_named_twice_is_a_usage_error() -> None:
    result = run("--vllm-url", "http://a", "--vllm-url", "http://a")
    assert result.exit_code == 2
    assert "Error: --vllm-url: names a server twice" in result.stderr


def test_an_option_after_the_command_overrides_one_before_it_which_overrides_the_environment() -> None:
    result = run(
        *("--vllm-url", "http://before", "--timeout", "2", "command", "--timeout", "3", "fox"),
        env={"VLLM_IMAGE_URL": "http://environment", "VLLM_IMAGE_TIMEOUT": "1", "VLLM_IMAGE_DEMO": "yes"},
    )
    assert result.stdout == 'fox{"vllm_url":"http://before","timeout":3.0,"demo":true}\n'


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--vllm-url", "localhost:6655"),
        ("--timeout", "soon"),
        ("--timeout", "0"),
        ("--max-concurrent", "0"),
        ("--max-concurrent", "many"),
        ("--gpu-vram-gb", "-1"),
        ("--log-level", "LOUD"),
        ("--api-key", "two words"),
        ("--header", "no colon"),
        ("--ca-file", "nowhere.pem"),
        ("--proxy", "ftp://proxy"),
    ],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_bad_value_is_a_usage_error_that_names_the_option(option: str, value: str, place: str) -> None:
    arguments = (option, value, "command", "fox") if place == "before" else ("command", option, value, "fox")
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Error: {option}: " in result.stderr
    assert "pydantic" not in result.stderr
    assert "Value error" not in result.stderr


@pytest.mark.parametrize("variable", ["URL", "VLLM_URL", "TIMEOUT", "DEMO"])
def test_a_bad_value_in_the_environment_is_named_by_its_variable(variable: str) -> None:
    result = run(env={f"VLLM_IMAGE_{variable}": "nonsense"})
    assert result.exit_code == 2
    assert f"Error: VLLM_IMAGE_{variable}: " in result.stderr


def test_a_bad_value_is_traced_to_where_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("timeout = -1", "utf-8")
    assert "VLLM_IMAGE_TIMEOUT: must be greater than 0" in run(env={"VLLM_IMAGE_TIMEOUT": "0"}).stderr
    assert f"--timeout: must be greater than 0 (from {file})" in run("--config", str(file)).stderr
    file.write_text("time_limit = -1", "utf-8")
    assert f"Error: {file}: 'time_limit' is not a setting." in run("--config", str(file)).stderr


def test_every_bad_value_is_reported_at_once_and_no_secret_with_it() -> None:
    result = run("--timeout", "0", "--api-key", "canary canary", "--vllm-url", "http://user:canary@gpu")
    assert [word in result.stderr for word in ("--timeout", "--api-key", "--vllm-url")] == [True] * 3
    assert "canary" not in result.stderr


def test_a_bad_value_before_the_command_cannot_be_corrected_after_it() -> None:
    assert run("--timeout", "0", "command", "--timeout", "3", "fox").exit_code == 2


@program.command()
@with_settings
def cut_off(_: Settings) -> None:
    """Say how to continue."""
    click.echo(how_to_resume("batch_1", as_json=True))


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell's quoting")
def test_the_command_to_continue_repeats_the_given_options_except_the_key() -> None:
    options = ("--vllm-url", "http://a", "--vllm-url", "http://b", "--timeout", "5", "--api-key", "secret")
    options = (*options, "--header", "X-Team: secret")
    result = run(*options, "cut-off", "--output-dir", "my $pictures", "--demo")
    assert result.stdout == (
        "Set VLLM_IMAGE_API_KEY first; its value is not shown here. "
        "Set VLLM_IMAGE_HEADER first; its value is not shown here. To resume: vllm-image-mcp resume batch_1 "
        "--vllm-url http://a --vllm-url http://b --output-dir 'my $pictures' --timeout 5 --demo "
        "--json\n"
    )
    assert run("cut-off", "--output-dir", "-x").stdout.endswith("batch_1 --output-dir=-x --json\n")


def test_the_command_to_continue_is_plain_without_options() -> None:
    assert run("cut-off").stdout == "To resume: vllm-image-mcp resume batch_1 --json\n"


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--timeout", "5 minutes", "--timeout: must be a valid number"),
        ("--max-concurrent", "two", "--max-concurrent: must be a valid integer"),
        ("--gpu-vram-gb", "24GB", "--gpu-vram-gb: must be a valid number"),
        ("--timeout", "0", "--timeout: must be greater than 0"),
    ],
)
def test_a_value_that_is_not_a_number_is_refused_in_plain_words(option: str, value: str, told: str) -> None:
    assert run(option, value).stderr.endswith(f"Error: {told}\n")


class SettingsWithOneMore(Settings):
    quantum: Annotated[float, Field(gt=0), Setting("Length of a time slice.", "SECONDS")] = 1.5


@click.command()
@partial(with_settings, model=SettingsWithOneMore)
def one_more(settings: SettingsWithOneMore) -> None:
    """Print the added setting, and how to continue."""
    click.echo(f"{settings.quantum} {how_to_resume('batch_1')}")


def test_a_setting_needs_one_field_for_its_option_its_variable_its_help_and_its_errors() -> None:
    shell = CliRunner()

    assert (
        "--quantum SECONDS        Length of a time slice.  [1.5]" in shell.invoke(one_more, ["--help"]).stdout
    )
    assert shell.invoke(one_more, env={"VLLM_IMAGE_QUANTUM": "2"}).stdout.startswith("2.0 ")
    assert shell.invoke(one_more, ["--quantum", "3"]).stdout == (
        "3.0 To resume: vllm-image-mcp resume batch_1 --quantum 3\n"
    )
    assert "Error: --quantum: must be greater than 0" in shell.invoke(one_more, ["--quantum", "0"]).stderr


class ServerGroup(GroupedOptions, click.Group):
    """A group whose options are listed in groups."""


@click.group(cls=ServerGroup, invoke_without_command=True)
@partial(with_settings, serves_mcp=True)
def server(_: Settings) -> None:
    """Serve."""


@server.command(cls=GroupedOptions)
@click.option("--own", help="An option of the command.")
@with_settings
def work(settings: Settings, own: str | None) -> None:
    """Work."""
    click.echo(f"{settings.preview} {own} {how_to_resume('batch_1')}")


def test_help_lists_the_options_of_a_command_before_the_shared_ones_and_none_of_the_mcp_server() -> None:
    text = CliRunner().invoke(server, ["work", "--help"]).stdout
    assert text.index("--own") < text.index("Server and file options:") < text.index("--vllm-url")
    assert "--preview" not in text
    of_server = CliRunner().invoke(server, ["--help"]).stdout
    assert of_server.index("Options of the MCP server:") < of_server.index("--preview")
    assert of_server.index("Commands:") < of_server.index("Work.")


def test_an_option_of_the_mcp_server_may_come_before_a_command_and_is_not_repeated() -> None:
    result = CliRunner().invoke(server, ["--preview", "large", "work"])
    assert result.stdout == "large None To resume: vllm-image-mcp resume batch_1\n"
    assert CliRunner().invoke(server, ["work", "--preview", "large"]).exit_code == 2


def test_help_lists_the_exit_statuses() -> None:
    text = CliRunner().invoke(server, ["work", "--help"]).stdout
    assert "Exit status:" in text
    assert "130  Interrupted by Ctrl-C." in text
