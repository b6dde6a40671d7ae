"""The three packages are released together, so their versions and their pins on each other are one."""

import re
import tomllib
from collections.abc import Mapping
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

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


FLOORS = {
    "mcp": "2.3",  # CVE-2025-53365, -53366, -66416, CVE-2026-52869, -52870, -59950
    "pillow": "12.3",  # CVE-2026-25990, -40192, -55798, -59199, -59200, -59204, -59205
    "python-multipart": "0.0.26",  # CVE-2026-40347
    "starlette": "0.49.1",  # CVE-2025-54121, CVE-2025-62727
}
"""The first version of each library without its known vulnerabilities."""


@pytest.mark.parametrize("library", FLOORS)
def test_every_package_requires_libraries_without_known_vulnerabilities(library: str, root: Path) -> None:
    wanted: list[Requirement] = []
    for file in root.glob("packages/*/pyproject.toml"):
        project = tomllib.loads(file.read_text("utf-8"))["project"]
        stated = [
            *project.get("dependencies", ()),
            *chain(*project.get("optional-dependencies", {}).values()),
        ]
        wanted += [each for each in map(Requirement, stated) if each.name == library]
    assert wanted
    for requirement in wanted:
        [floor] = [each.version for each in requirement.specifier if each.operator == ">="]
        assert Version(floor) >= Version(FLOORS[library]), requirement
    assert Version(metadata.version(library)) >= Version(FLOORS[library])
