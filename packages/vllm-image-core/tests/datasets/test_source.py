"""Rows come from files, frames, prompts and mappings."""

from pathlib import Path
from typing import Any

import pytest
from vllm_image_core.datasets.source import open_source
from vllm_image_core.errors import InvalidRequest

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")
pd: Any = pytest.importorskip("pandas")
pl: Any = pytest.importorskip("polars")

ROWS = [{"prompt": "a fox", "seed": 1}, {"prompt": "a bear", "seed": 2}]


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.Table.from_pylist, list])
def test_rows_in_memory(kind: Any) -> None:  # noqa: ANN401 - a library's
    source = open_source(kind(ROWS))

    assert list(source.rows()) == ROWS
    assert source.total == 2


def test_the_index_of_a_frame_is_not_a_column() -> None:
    frame = pd.concat([pd.DataFrame(ROWS), pd.DataFrame(ROWS)])

    assert list(open_source(frame).rows()) == ROWS * 2


def test_prompts() -> None:
    assert list(open_source("a fox").rows()) == [{"prompt": "a fox"}]
    assert list(open_source(["a fox", "a bear"]).rows()) == [{"prompt": "a fox"}, {"prompt": "a bear"}]


def test_files(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("prompt,seed\na fox,1\na bear,2\n")
    (tmp_path / "c.jsonl").write_text('{"prompt":"a fox","seed":1}\n{"prompt":"a bear","seed":2}\n')

    for name in ("a.parquet", "b.csv", "c.jsonl"):
        assert list(open_source(tmp_path / name).rows()) == ROWS
    assert open_source(str(tmp_path / "a.parquet")).total == 2
    assert open_source(tmp_path / "b.csv").total is None


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / f"{name}.parquet")

    source = open_source(tmp_path)

    assert list(source.rows()) == ROWS * 2
    assert source.total == 4


@pytest.mark.parametrize("source", [7, "nowhere.parquet"])
def test_anything_else_is_refused(source: Any) -> None:  # noqa: ANN401 - unchecked
    with pytest.raises(InvalidRequest, match=r"Allowed: a \.parquet, \.csv or \.jsonl file"):
        open_source(source)


def test_a_column_that_is_not_a_parameter_is_refused_at_once() -> None:
    with pytest.raises(InvalidRequest, match="'colour' is not a parameter"):
        open_source([{"prompt": "a fox", "colour": "red"}])


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_file_as_windows_powershell_writes_it_is_refused_with_a_hint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("prompt\na fox\n", encoding="utf-16")
    with pytest.raises(InvalidRequest, match="is UTF-16 text; save it as UTF-8"):
        open_source(tmp_path / name)
