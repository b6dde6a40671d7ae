"""The page on the architecture names every module in its section, and no others."""

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize("package", ["vllm_omni_client", "vllm_image_core", "vllm_image_mcp"])
def test_every_module_has_its_line_in_its_section(package: str, root: Path) -> None:
    [section] = re.findall(
        rf"^## {package}\n(.*?)(?=^## |\Z)",
        (root / "ARCHITECTURE.md").read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    [folder] = root.glob(f"packages/*/src/{package}")

    top, *rooms = re.split(r"^### (?=\w+/)", section, flags=re.MULTILINE)
    named = _names(top) + [f"{room.partition('/: ')[0]}/{name}" for room in rooms for name in _names(room)]

    modules = [path.relative_to(folder).as_posix() for path in folder.rglob("*.py")]
    assert sorted(name for name in named if name.endswith(".py")) == sorted(
        name for name in modules if not name.endswith("__init__.py")
    )
    assert all(list(folder.glob(name)) for name in named)


def _names(section: str) -> list[str]:
    cells = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    return re.findall(r"`([\w*/]+\.(?:py|toml))`", " ".join(cells))
