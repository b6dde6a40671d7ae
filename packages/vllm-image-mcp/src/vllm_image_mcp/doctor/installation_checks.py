"""Check this installation: the versions of Python, of the three packages and of their dependencies."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Final

from vllm_image_mcp.doctor.finding import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGES: Final = ("vllm-image-mcp", "vllm-image-core", "vllm-omni-client")
_REINSTALL: Final = (
    "Install it again: `uv tool install --reinstall vllm-image-mcp`, or `pip install -U vllm-image-mcp`."
)


def check_installation(
    version_of: Callable[[str], str] = metadata.version,
    requirements_of: Callable[[str], list[str] | None] = metadata.requires,
) -> Iterator[Finding]:
    """Yield a finding with the versions, and one for each dependency that is missing or too old.

    Args:
        version_of: Returns the version of an installed package, or raises PackageNotFoundError.
        requirements_of: Returns the requirements of an installed package.
    """
    from packaging.requirements import Requirement  # noqa: PLC0415 - only doctor compares versions

    own = version_of(PACKAGES[0])
    yield Finding(
        check="installation",
        status="ok",
        detail=f"vllm-image-mcp {own} on Python {platform.python_version()}, {platform.system()}.",
    )
    for package in PACKAGES:
        for text in requirements_of(package) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield from _check_requirement(package, requirement, version_of)


def _check_requirement(
    package: str, requirement: Requirement, version_of: Callable[[str], str]
) -> Iterator[Finding]:
    try:
        installed = version_of(requirement.name)
    except metadata.PackageNotFoundError:
        problem = f"{package} needs {requirement.name}, which is not installed."
    else:
        if requirement.specifier.contains(installed, prereleases=True):
            return
        problem = f"{package} needs {requirement}, but {requirement.name} {installed} is installed."
    yield Finding(
        check="installation", status="failed", subject=requirement.name, detail=problem, fix=_REINSTALL
    )
