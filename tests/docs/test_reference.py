"""The tables on the pages match the code: options, tools, results and models."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from mcp.types import Tool
from vllm_image_core.estimation.estimator import GB_PER_IMAGE
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_mcp.cli import main as command_line
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings

OF_CLICK = {"--version", "--help"}
# The profiles as the project's plan gave them, by the last part of the model's name.
PLAN: Mapping[str, Mapping[str, object]] = {
    "FLUX.2-klein-4B": {
        "type": "distilled",
        "default_steps": 4,
        "default_guidance_scale": 1.0,
        "supports_negative_prompt": False,
        "estimated_vram_gb": 13.0,
        "supported_aspect_ratios": 5,
    },
    "FLUX.2-klein-9B": {
        "type": "distilled",
        "default_steps": 4,
        "default_guidance_scale": 1.0,
        "supports_negative_prompt": False,
        "estimated_vram_gb": 29.0,
        "supported_aspect_ratios": 5,
    },
    "Qwen-Image-2512": {
        "type": "standard",
        "default_steps": 28,
        "default_guidance_scale": 5.0,
        "supports_negative_prompt": True,
        "estimated_vram_gb": 40.0,
        "supported_aspect_ratios": 7,
    },
    "Qwen-Image": {
        "type": "standard",
        "default_steps": 50,
        "default_guidance_scale": 5.0,
        "supports_negative_prompt": True,
        "estimated_vram_gb": 40.0,
        "supported_aspect_ratios": 3,
    },
    "Z-Image-Turbo": {
        "type": "standard",
        "default_steps": 50,
        "default_guidance_scale": 5.0,
        "supports_negative_prompt": True,
        "estimated_vram_gb": 40.0,
        "supported_aspect_ratios": 1,
    },
}
Row = tuple[str, ...]


def table(page: Path, heading: str, *, first: str) -> list[Row]:
    """The rows of the table below a heading whose first column has that title, without code marks."""
    section = re.split(r"^#+ ", page.read_text("utf-8"), flags=re.MULTILINE)
    [text] = [part for part in section if part.startswith(f"{heading}\n")]
    rows = [
        tuple(str(cell).strip().replace("`", "") for cell in line.strip("|").split("|"))
        for line in text.splitlines()
        if line.startswith("|")
    ]
    start = next(number for number, row in enumerate(rows) if row[0] == first)
    end = next(
        (n for n, row in enumerate(rows) if n > start + 1 and re.fullmatch("-+", row[0])), len(rows) + 1
    )
    return rows[start + 2 : end - 1]


@pytest.fixture
def tools() -> Mapping[str, Tool]:
    listed = asyncio.run(build_server(Settings.from_arguments()).list_tools())
    return {tool.name: tool for tool in listed}


def profiles() -> Mapping[str, Profile]:
    return {profile.model.rpartition("/")[2]: profile for profile in Registry.builtin()}


def test_the_options_table_matches_the_command_line(root: Path) -> None:
    rows = table(root / "README.md", "Options", first="Option")

    assert [row[:3] for row in rows] == [
        (f"--{name.replace('_', '-')}", Settings.variable(name), default_of(name))
        for name in Settings.table()
    ]
    assert [row[0] for row in rows] == options_of(command_line)


def test_the_readme_of_the_package_names_every_option(root: Path) -> None:
    text = (root / "packages" / "vllm-image-mcp" / "README.md").read_text("utf-8")
    section = text.partition("## Options\n")[2].partition(". Each can")[0]

    named = re.findall(r"`--(?:no-)?([a-z-]+)`", section)

    assert named == [name.replace("_", "-") for name in Settings.table()]


def options_of(command: click.Command) -> list[str]:
    given = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    return [option for option in given if option not in OF_CLICK]


def default_of(name: str) -> str:
    default: object = Settings.model_fields[name].default
    match default:
        case None:
            return "auto" if "auto" in Settings.table()[name].metavar else "none"
        case False:
            return "off"
        case True:
            return "on"
        case _:
            return str(default)


VALUES = {
    "vllm_url": "http://gpu:6655",
    "output_dir": "images",
    "max_concurrent": "3",
    "timeout": "60",
    "api_key": "sesame",
    "header": "X-Team: blue",
    "ca_file": __file__,
    "proxy": "none",
    "model": "flux.1-dev",
    "assume_edits": "1",
    "demo": "1",
    "gpu_name": "H100",
    "gpu_vram_gb": "80",
    "allow_dir": ".",
    "profiles": "profiles",
    "styles_dir": "styles",
    "metadata": "none",
    "preview": "none",
    "structured_content": "0",
    "max_wait": "30",
    "confirm_over": "60",
    "resume": "1",
    "log_level": "info",
    "transport": "http",
    "host": "localhost",
    "port": "8000",
    "allowed_host": "images.example.com",
    "token": "sesame",
    "token_file": "key.txt",
    "users_file": __file__,
    "public_url": "https://images.example.com",
    "api_key_file": "key.txt",
    "config": "config.toml",
}
"""A value for each setting that is not its default."""


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_documented_variable_is_read(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.txt").write_text("sesame", "utf-8")
    (tmp_path / "config.toml").touch()
    before: object = getattr(Settings.from_arguments(), name)

    monkeypatch.setenv(Settings.variable(name), VALUES[name])

    assert getattr(Settings.from_arguments(), name) != before


def test_the_commands_table_matches_the_command_line(root: Path) -> None:
    rows = table(root / "README.md", "Commands", first="Command")

    named = [row[0].split()[1] for row in rows if len(row[0].split()) > 1]

    assert isinstance(command_line, click.Group)
    assert sorted(named) == command_line.list_commands(click.Context(command_line))


def test_the_tools_table_matches_the_server(root: Path, tools: Mapping[str, Tool]) -> None:
    rows = table(root / "README.md", "Tools", first="Tool")

    assert [row[0] for row in rows] == list(tools)


def test_the_tools_page_has_every_parameter_of_every_tool(root: Path, tools: Mapping[str, Tool]) -> None:
    page = root / "docs" / "tools.md"

    for name, tool in tools.items():
        parameters = list(tool.input_schema["properties"])
        rows = table(page, name, first="Parameter") if parameters else []
        assert [row[0] for row in rows] == parameters
        assert [row[2] for row in rows] == [default_in(tool, parameter) for parameter in parameters]


def default_in(tool: Tool, parameter: str) -> str:
    if parameter in tool.input_schema.get("required", []):
        return "required"
    default = tool.input_schema["properties"][parameter].get("default")
    if default is not None:
        return str(default)
    if tool.name in {"find_images", "rate_images"}:
        return "any" if tool.name == "find_images" else "none"
    if tool.name == "edit_image" and parameter in {"width", "height", "aspect_ratio"}:
        return "the image's"
    return {
        "seed": "random",
        "seeds": "random",
        "filename": "time and hash",
        "negative_prompt": "none",
        "mask": "none",
        "mask_box": "none",
        "mask_polygon": "none",
        "outpaint": "none",
        "upscale": "none",
        "reference_image": "none",
        "sweep": "none",
        "lora": "none",
        "style": "none",
        "extra_params": "none",
        "output_format": "png",
        "count": "1",
        "zip": "false",
        "wildcards": "false",
        "dry_run": "false",
        "max_concurrent": "auto",
        "max_wait": "auto",
    }.get(parameter, "the model's")


LIKE = {"edit_image": "generate_image", "get_batch": "batch_generate"}
"""Tools whose schema leaves what is the same to that of another."""


def test_the_tools_page_shows_a_result_of_every_tool_with_every_key(
    root: Path, tools: Mapping[str, Tool]
) -> None:
    shown = results_on(root / "docs" / "tools.md")

    assert list(shown) == list(tools)
    for name, result in shown.items():
        schema = tools[name].output_schema
        assert schema is not None
        jsonschema.validate(result, schema)
        whole = tools[LIKE.get(name, name)].output_schema
        assert whole is not None
        assert list(result) == list({**whole["properties"], **schema["properties"]})


def results_on(page: Path) -> dict[str, dict[str, Any]]:
    sections = re.split(r"^## ", page.read_text("utf-8"), flags=re.MULTILINE)[1:]
    found = {
        section.partition("\n")[0]: re.findall(r"^```json\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
        for section in sections
    }
    return {name: json.loads(blocks[0]) for name, blocks in found.items() if blocks}


def test_the_readme_lists_every_difference_to_the_numbers_of_the_plan(root: Path) -> None:
    rows = table(root / "README.md", "Models", first="Model")

    differences = [
        (name, setting, written(planned), written(setting_of(profile, setting)))
        for name, profile in profiles().items()
        for setting, planned in PLAN.get(name, {}).items()
        if setting_of(profile, setting) != planned
    ]
    added = {name for name in profiles() if name not in PLAN}

    assert sorted(row[:4] for row in rows if row[0] in PLAN) == sorted(differences)
    assert {row[0] for row in rows if row[0] not in PLAN} <= added


def setting_of(profile: Profile, setting: str) -> object:
    value: object = getattr(profile, setting)
    return len(profile.supported_aspect_ratios) if setting == "supported_aspect_ratios" else value


def written(value: object) -> str:
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def test_the_models_page_has_the_numbers_of_the_profiles(root: Path) -> None:
    rows = table(root / "docs" / "models.md", "Known models", first="Model")

    assert rows == [
        (
            profile.model,
            profile.type,
            str(profile.default_steps),
            f"{profile.default_guidance_scale:g}",
            "yes" if profile.supports_negative_prompt else "no",
            str(profile.default_size),
            written(profile.estimated_vram_gb),
        )
        for profile in profiles().values()
    ]


def test_the_cards_page_has_every_model_in_the_row_of_the_smallest_card_that_fits(root: Path) -> None:
    rows = table(root / "docs" / "cards.md", "Which card for which model", first="Card, GB")

    smallest = 0
    for gigabytes, _, models in rows:
        fitting = [
            profile.model
            for profile in profiles().values()
            if profile.estimated_vram_gb is not None
            and smallest < profile.estimated_vram_gb + GB_PER_IMAGE <= float(gigabytes)
        ]
        assert models == (", ".join(fitting) or "none more"), gigabytes
        smallest = int(gigabytes)


def test_the_models_page_has_the_limits_and_qualities_of_the_profiles(root: Path) -> None:
    rows = table(root / "docs" / "models.md", "Limits and qualities", first="Model")

    assert rows == [
        (
            name,
            str(profile.resolution_multiple),
            f"{profile.max_resolution_mp:g}",
            profile.size_rule,
            edits(profile),
            ", ".join(profile.quality) or "none",
            "yes" if profile.licence else "no",
        )
        for name, profile in profiles().items()
    ]


def edits(profile: Profile) -> str:
    if not profile.max_input_images:
        return "no"
    return f"{'' if profile.text_to_image else 'only '}{profile.max_input_images}"


def test_the_models_page_has_the_sizes_of_the_profiles(root: Path) -> None:
    rows = table(root / "docs" / "models.md", "Aspect ratios", first="Model")

    assert rows == [
        (name, ", ".join(f"{ratio} {size}" for ratio, size in profile.supported_aspect_ratios.items()))
        for name, profile in profiles().items()
    ]
