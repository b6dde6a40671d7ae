"""The versions of this installation, and mismatched dependencies."""

from importlib import metadata

import pytest
from vllm_image_mcp.doctor.installation_checks import check_installation


def test_this_installation_has_what_it_needs() -> None:
    [only] = check_installation()
    assert only.status == "ok"
    assert metadata.version("vllm-image-mcp") in only.detail


@pytest.mark.parametrize(
    ("installed", "problem"),
    [
        ("1.0", "vllm-image-mcp needs pydantic>=2.12, but pydantic 1.0 is installed."),
        (None, "vllm-image-mcp needs pydantic, which is not installed."),
    ],
)
def test_a_dependency_that_is_missing_or_too_old_is_named(installed: str | None, problem: str) -> None:
    def version_of(name: str) -> str:
        if name == "pydantic" and installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed if name == "pydantic" and installed else metadata.version(name)

    faults = [each for each in check_installation(version_of) if each.status == "failed"]

    assert problem in [each.detail for each in faults]
    assert {each.subject for each in faults} == {"pydantic"}
    assert all(each.fix.startswith("Install it again: ") for each in faults)


def test_packages_of_different_versions_are_named() -> None:
    def version_of(name: str) -> str:
        return "9.9" if name == "vllm-omni-client" else metadata.version(name)

    faults = [each for each in check_installation(version_of) if each.subject == "vllm-omni-client"]
    assert faults
    assert all("vllm-omni-client 9.9 is installed" in each.detail for each in faults)
