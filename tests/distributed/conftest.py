"""Fixtures of the tests on engines; they need `--group distributed`."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

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
