"""The callable that engines map over batches: rows in, rows out, one client for all."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vllm_image_core.datasets.image_generator import ImageGenerator
from vllm_image_core.datasets.image_row import COLUMNS, rows_of_table
from vllm_image_core.errors import InvalidRequest

if TYPE_CHECKING:
    from conftest import BatchServer

pytest.importorskip("obstore")
pa: Any = pytest.importorskip("pyarrow")
pd: Any = pytest.importorskip("pandas")


@pytest.mark.parametrize("kind", [dict, pa.table, pd.DataFrame])
async def test_a_batch_of_rows_returns_a_row_for_each(
    kind: Any,  # noqa: ANN401 - a library's
    batch_server: "BatchServer",
    tmp_path: Path,
) -> None:
    batch = kind({"prompt": ["a fox", "a bear", "a hare"], "width": [64, 128, 3]})

    async with ImageGenerator([batch_server], tmp_path) as generator:
        table = await generator(batch)

    assert table.column_names == list(COLUMNS)
    assert [row.status for row in rows_of_table(table)] == ["done", "done", "failed"]
    assert not any("bytes" in str(each.type) or "list" in str(each.type) for each in table.schema)


async def test_a_batch_with_another_column_is_refused(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with ImageGenerator([batch_server], tmp_path) as generator:
        with pytest.raises(InvalidRequest, match="'colour' is not a parameter"):
            await generator({"prompt": ["a fox"], "colour": ["red"]})
    assert batch_server.sent == []


async def test_an_empty_batch_gives_an_empty_table(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with ImageGenerator([batch_server], tmp_path) as generator:
        table = await generator({"prompt": []})

    assert (table.num_rows, table.column_names) == (0, list(COLUMNS))
