"""The three packages are released together, so their versions and their pins on each other are one."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("vllm-omni-client", "vllm-image-core", "vllm-image-mcp")
NEEDS = {
    "vllm-omni-client": set[str](),
    "vllm-image-core": {"vllm-omni-client"},
    "vllm-image-mcp": {"vllm-image-core", "vllm-omni-client"},
}


@pytest.fixture
def projects(root: Path) -> Mapping[str, Mapping[str, Any]]:
    files = {name: root / "packages" / name / "pyproject.toml" for name in PACKAGES}
    return {name: tomllib.loads(file.read_text("utf-8"))["project"] for name, file in files.items()}


@pytest.fixture
def version(projects: Mapping[str, Mapping[str, Any]]) -> str:
    return projects["vllm-omni-client"]["version"]


def test_the_three_packages_have_one_version(projects: Mapping[str, Mapping[str, Any]], version: str) -> None:
    assert {name: project["version"] for name, project in projects.items()} == dict.fromkeys(
        PACKAGES, version
    )


def test_each_package_pins_the_others_to_that_version(
    projects: Mapping[str, Mapping[str, Any]], version: str
) -> None:
    for name, project in projects.items():
        pins = [need for need in project["dependencies"] if need.startswith(PACKAGES)]
        assert {re.split(r"[\[=]", pin)[0] for pin in pins} == NEEDS[name]
        assert all(pin.endswith(f"=={version}") for pin in pins)


def test_the_lock_file_has_that_version(root: Path, version: str) -> None:
    locked = tomllib.loads((root / "uv.lock").read_text("utf-8"))["package"]

    found = {each["name"]: each["version"] for each in locked if each["name"] in PACKAGES}

    assert found == dict.fromkeys(PACKAGES, version)


def test_the_changelog_has_that_version(root: Path, version: str) -> None:
    assert re.search(
        rf"^## \[?{re.escape(version)}\b", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
