"""The files of examples/serving are valid, and start what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
from vllm_image_mcp.cli import main

yaml: Any = pytest.importorskip("yaml")
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)\}")
"""A variable of a compose file, with its default."""
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


@pytest.mark.parametrize("name", ["compose.yaml", "examples/serving/compose.yaml"])
def test_compose_accepts_its_file(name: str, root: Path) -> None:
    compose = pytest.importorskip("compose_spec")
    text = VARIABLE.sub(lambda found: found[2] or "given", (root / name).read_text("utf-8"))

    read = compose.PyOptions(apply_merge=True).from_yaml(text)
    read.validate()

    assert "${" not in text
    with pytest.raises(ValueError, match="cap_dropped"):
        compose.PyOptions(apply_merge=True).from_yaml(text.replace("cap_drop", "cap_dropped"))


def test_compose_starts_two_copies_with_one_store_and_both_servers(root: Path) -> None:
    services = yaml.safe_load((root / "examples/serving/compose.yaml").read_text("utf-8"))["services"]
    copies = [each for name, each in services.items() if name.startswith("images")]
    servers = [name for name in services if name.startswith("gpu")]

    assert len(copies) == len(servers) == 2
    for each in copies:
        assert each["environment"]["VLLM_IMAGE_URL"] == ",".join(f"http://{name}:6655" for name in servers)
        assert each["volumes"] == ["images:/images"]
    for name in servers:
        assert services[name]["command"][-2:] == ["--port", "6655"]


def test_helm_accepts_the_chart(root: Path) -> None:
    helm = pytest.importorskip("helm_python")
    found = helm.lint(root / "examples/serving/chart")

    assert found["total_charts_linted"] == 1
    assert [each["error"] for each in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_accepts_what_helm_makes_of_the_chart(version: str, root: Path) -> None:
    helm, kubernetes = (pytest.importorskip(each) for each in ("helm_python", "kubernetes_validate"))
    with helm.Chart.load(root / "examples/serving/chart") as chart:
        files = chart.render({"storage": {"className": "nfs"}, "omni": {"replicas": 3}}, name="foxes")
    resources = [each for file in files.values() for each in yaml.safe_load_all(file)]

    for each in resources:
        kubernetes.validate(each, version, strict=True)
    claim, images, service, _, omni = resources
    assert claim["spec"]["storageClassName"] == "nfs"
    assert images["spec"]["replicas"] == 2
    assert service["spec"]["selector"] == images["spec"]["template"]["metadata"]["labels"]
    assert omni["spec"]["replicas"] == 3
    [container] = images["spec"]["template"]["spec"]["containers"]
    urls = ",".join(f"http://foxes-omni-{number}.foxes-omni:6655" for number in range(3))
    assert container["env"][0] == {"name": "VLLM_IMAGE_URL", "value": urls}
    shared = {each["name"]: each for each in images["spec"]["template"]["spec"]["volumes"]}["images"]
    assert shared["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
