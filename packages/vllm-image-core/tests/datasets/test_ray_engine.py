"""The parts that do not need Ray itself; `nox -s distributed` tests Ray."""

from types import SimpleNamespace

import pytest
from vllm_image_core.datasets import ray_engine
from vllm_image_core.datasets.image_generator import GeneratorSpec
from vllm_image_core.datasets.source import open_source
from vllm_image_core.errors import RunStopped

pytest.importorskip("pyarrow")


def test_a_ray_that_does_not_start_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    shut_down: list[bool] = []

    def init(**_options: object) -> None:
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 - Ray has no class for it

    ray = SimpleNamespace(is_initialized=bool, init=init, shutdown=lambda: shut_down.append(True))
    monkeypatch.setattr(ray_engine, "import_ray", lambda: ray)
    spec = GeneratorSpec(["http://gpu1:6655"], "out", {})

    with pytest.raises(RunStopped, match="Ray has stopped: The current node timed out during startup"):
        list(ray_engine.run_on_ray(open_source("a fox"), spec, address=None))

    assert shut_down
