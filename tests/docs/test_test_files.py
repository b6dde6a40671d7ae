"""A module's tests are in the file of its name, in the folder of its layer."""

from pathlib import Path

import pytest

PACKAGES = {"vllm-image-core": "vllm_image_core", "vllm-omni-client": "vllm_omni_client"}
PRIVATE = {"imaging": "_imaging", "protocol": "_protocol", "transport": "_transport"}
BEHAVIOUR = {"contract", "laws"}
TESTED = [
    "batches/runner",
    "batches/queries",
    "batches/writer",
    "batches/handle",
    "batches/recovery",
    "fleet/server",
    "fleet/scheduler",
    "fleet/failover",
    "fleet/error_policy",
    "fleet/server_pool",
    "fleet/health_checks",
    "requests/resolver",
    "requests/size_choice",
    "requests/guidance",
    "generation/generator",
    "generation/loaded_model",
    "generation/forecast",
    "storage/library",
    "storage/store",
]


@pytest.mark.parametrize("package", PACKAGES)
def test_each_test_file_of_a_layer_has_its_module(package: str, root: Path) -> None:
    tests, source = root / f"packages/{package}/tests", root / f"packages/{package}/src" / PACKAGES[package]
    files = [path.relative_to(tests) for path in tests.glob("*/**/test_*.py")]
    assert files
    for file in files:
        layer, *_ = file.parts
        place = source.joinpath(PRIVATE.get(layer, layer) if source.name == "vllm_omni_client" else layer)
        stem = file.stem.removeprefix("test_")
        modules = [place.joinpath(*file.parts[1:-1], f"{name}.py") for name in (stem, f"__{stem}__")]
        assert layer in BEHAVIOUR or any(path.is_file() for path in modules), file


@pytest.mark.parametrize("module", TESTED)
def test_each_central_module_of_the_core_has_its_test_file(module: str, root: Path) -> None:
    layer, name = module.split("/")
    assert (root / "packages/vllm-image-core/tests" / layer / f"test_{name}.py").is_file()
