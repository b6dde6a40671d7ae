"""The page on the architecture names every module, and none that is not there."""

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize("package", ["vllm_omni_client", "vllm_image_core", "vllm_image_mcp"])
def test_every_module_has_its_line(package: str, root: Path) -> None:
    [section] = re.findall(
        rf"^## {package}\n(.*?)(?=^## |\Z)",
        (root / "ARCHITECTURE.md").read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    [folder] = root.glob(f"packages/*/src/{package}")

    named = re.findall(
        r"`([\w*/]+\.(?:py|toml))`", " ".join(re.findall(r"^\| (.+?) \|", section, re.MULTILINE))
    )

    modules = [path.name for path in folder.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(name for name in named if name.endswith(".py")) == sorted(modules)
    assert all(list(folder.rglob(name)) for name in named)
