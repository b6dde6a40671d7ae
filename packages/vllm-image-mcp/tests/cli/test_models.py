import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from vllm_image_core.models.registry import Registry
from vllm_image_mcp.cli import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "Qwen/Qwen-Image"\nmodel = "acme/painter"\ndefault_steps = 33\n', "utf-8")
    return file


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.toml"
    file.write_text('extends = "Qwen/Qwen-Image"\ndefault_steps = 500\n', "utf-8")
    return file


def test_models_lists_every_model_that_is_known() -> None:
    result = run("models")
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.output.splitlines()]
    assert names == ["MODEL"] + [profile.model for profile in Registry.builtin()]


def test_a_model_is_shown_with_the_sources_of_its_numbers() -> None:
    result = run("models", "qwen-image-2512")
    assert result.exit_code == 0
    assert result.output.startswith("Qwen/Qwen-Image-2512\n")
    assert "Our own choice, which is quicker; the publisher's README" in " ".join(result.output.split())


def test_an_unknown_model_is_reported_with_how_to_list_all() -> None:
    result = run("models", "acme/painter")
    assert result.exit_code == 2
    assert "No profile is named 'acme/painter'; `vllm-image-mcp models` lists them." in result.output


def test_your_own_profiles_are_listed_first(mine: Path) -> None:
    for arguments in (("--profiles", str(mine), "models"), ("models", "--profiles", str(mine))):
        first = run(*arguments).output.splitlines()[1]
        assert first.split() == ["acme/painter", "standard", "33", "5", "1024x1024", "57.7", "GB", "-"]


def test_your_own_profiles_can_be_given_in_the_environment(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_IMAGE_PROFILES", str(mine.parent))
    assert run("models", "acme/painter").output.startswith("acme/painter\n")


def test_a_valid_file_is_reported_as_valid(mine: Path) -> None:
    result = run("models", "--check", str(mine))
    assert (result.exit_code, result.output) == (0, "acme/painter: the profile is valid.\n")
    result = run("models", "--check", str(mine), "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"model": "acme/painter", "valid": True})


def test_an_invalid_file_is_reported_with_the_key_and_what_is_allowed(broken: Path) -> None:
    result = run("models", "--check", str(broken))
    assert result.exit_code == 1
    assert f"{broken}: default_steps: 500 is not valid; use 1 to 200" in result.output


@pytest.mark.parametrize("command", [(), ("models",), ("generate", "--demo", "a fox")])
def test_an_invalid_file_ends_every_command_at_its_start(command: tuple[str, ...], broken: Path) -> None:
    result = run("--profiles", str(broken), *command)
    assert result.exit_code == 1
    assert "default_steps: 500 is not valid; use 1 to 200" in result.output
    assert "Traceback" not in result.output


def test_a_quality_can_be_requested(tmp_path: Path) -> None:
    result = run(
        "generate", "--demo", "--output-dir", str(tmp_path), "--quality", "draft", "--width", "64", "a fox"
    )
    assert result.exit_code == 0
    assert "has no settings for quality draft" in result.output


def test_an_invalid_quality_is_refused_with_the_valid_ones() -> None:
    result = run("generate", "--quality", "fast", "a fox")
    assert result.exit_code == 2
    assert "'draft', 'standard', 'best'" in result.output


def test_a_part_of_a_name_lists_the_models_that_have_it() -> None:
    result = run("models", "klein")
    names = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert len(names) > 1
    assert all("klein" in name for name in names)


def test_json_prints_a_profile_on_each_line() -> None:
    [only] = run("models", "--json", "FLUX.2-klein-4B").stdout.splitlines()
    assert json.loads(only)["default_steps"] == 4
    assert len(run("models", "--json").stdout.splitlines()) == len(tuple(Registry.builtin()))
