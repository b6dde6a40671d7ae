"""Fixtures of the tests on engines; they need `--group distributed`."""

import asyncio
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from server_pair import ServerPair, server_pair
from vllm_image_core import ImageRow
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.row_parts import read_rows


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Ray and Daft warn of themselves: their warnings are not ours."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


scheduler: Any = import_module("xdist.scheduler")


class OneRay(scheduler.LoadScopeScheduling):
    """Distributes tests over processes; those with "ray" in their names share one, which starts Ray once."""

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if "ray" in nodeid.partition("::")[2] else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 - xdist's
    return OneRay(config, log)


_STARTS = 4
"""A node of Ray that is not up after 30 seconds gives up, which a busy machine may need more than once."""


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """The address of a Ray cluster on this machine, for all tests with "ray" in their names."""
    ray: Any = pytest.importorskip("ray")
    for start in range(_STARTS):
        try:
            ray.init(
                num_cpus=2,
                object_store_memory=100 * 2**20,
                include_dashboard=False,
                log_to_driver=False,
            )
            break
        except Exception as error:  # noqa: BLE001 - Ray has no class for it
            ray.shutdown()
            if start == _STARTS - 1:
                pytest.skip(f"Ray does not start on this machine: {error}")
    import_module("ray.data").DataContext.get_current().enable_progress_bars = False
    yield str(ray.get_runtime_context().gcs_address)
    ray.shutdown()


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that is a test's parameter; Ray has been started."""
    if request.param == "ray":
        request.getfixturevalue("ray_address")
    return request.param


@pytest.fixture
def servers() -> Iterator[ServerPair]:
    with server_pair() as pair:
        yield pair


@pytest.fixture
def finished() -> Callable[[Path], list[ImageRow]]:
    """Reads the rows in a folder, after checking that each has its image and no image is without one."""

    def read(folder: Path) -> list[ImageRow]:
        found = asyncio.run(read_rows(ObjectStore(folder)))
        images = {path.stem for path in folder.glob("images/*/*/*.png")}
        assert {row.job_id.hex() for row in found if row.job_id} == images
        return found

    return read
