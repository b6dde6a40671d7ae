"""The files of examples/serving are valid, and start what there is."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from vllm_image_mcp.cli import main

yaml: Any = pytest.importorskip("yaml")
FILES = ("compose.yaml", "kuberay.yaml", "skypilot.yaml")


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_yaml(name: str, root: Path) -> None:
    assert list(yaml.safe_load_all((root / "examples/serving" / name).read_text("utf-8")))


@pytest.mark.parametrize("name", ["kuberay.yaml", "skypilot.yaml"])
def test_the_command_of_a_cluster_has_options_that_exist(name: str, root: Path) -> None:
    text = (root / "examples/serving" / name).read_text("utf-8")
    [command] = re.findall(r"vllm-image-mcp dataset [^\n]*(?:\n +--[^\n]*)?", text)
    group: Any = main
    options = {option for each in group.get_command(None, "dataset").params for option in each.opts}

    assert {"--engine", "--address", "--out", "--vllm-url"} <= options
    assert set(re.findall(r"--[a-z-]+", command)) <= options


def test_the_chart_gives_the_server_settings_that_exist(root: Path) -> None:
    folder = root / "examples/serving/chart"
    values = yaml.safe_load((folder / "values.yaml").read_text("utf-8"))
    text = "".join(path.read_text("utf-8") for path in folder.glob("templates/*.yaml"))

    named = re.findall(r"\.Values\.([\w.]+)", text)
    assert named
    for name in named:
        found: Any = values
        for part in name.split("."):
            assert part in found
            found = found[part]


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
def test_helm_accepts_the_chart(root: Path) -> None:
    helm = shutil.which("helm")
    assert helm
    done = subprocess.run([helm, "lint", "--strict", root / "examples/serving/chart"], check=False)
    assert done.returncode == 0
