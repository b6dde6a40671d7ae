"""Batches from files and data frames: bad rows are listed, and the others are generated."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vllm_image_core import BlockingStudio, InvalidRequest
from vllm_image_core.batch_file.request_rows import is_row_source

if TYPE_CHECKING:
    from conftest import BatchServer

FILES = {
    "prompts.txt": "a fox\na \0 hare\n\na bear\n",
    "prompts.csv": "Prompt,Steps,Width,Height,CFG scale\na fox,4,64,64,1\na hare,many,,,\na bear,4,64,64,1\n",
    "prompts.jsonl": '{"prompt": "a fox", "seed": -1}\n{"prompt": "a hare", "sampler": "Euler"}\n'
    '{"prompt": "a bear"}\n',
    "named.csv": "Prompt,Steps\na fox,4\na hare,900\na bear,4\n",
    "named.jsonl": '{"prompt": "a fox"}\n{"prompt": "a hare", "Steps": 900}\n{"prompt": "a bear"}\n',
}
REASONS = {
    "prompts.txt": "line 2: The prompt has a character that is not allowed",
    "prompts.csv": "line 3: Steps 'many' is not an integer.",
    "prompts.jsonl": "line 2: 'sampler' cannot be set: vLLM-Omni offers no choice of sampler or scheduler",
    "named.csv": "line 3: Steps: 900 is out of range. Allowed: an integer from 1 to 200.",
    "named.jsonl": "line 2: Steps: 900 is out of range. Allowed: an integer from 1 to 200.",
}
ROWS: dict[str, list[Any]] = {
    "prompt": ["a fox", "a hare", None, "a bear"],
    "Seed": [7, 8, 9, None],
    "width": [64, 3, 64, 64],
    "height": [64, 64, 64, 64],
}


@pytest.mark.parametrize("name", FILES)
async def test_the_bad_rows_of_a_file_are_listed_by_line_and_the_others_are_generated(
    batch_server: "BatchServer", tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text(FILES[name], "utf-8")
    async with batch_server.studio(tmp_path / "images") as studio:
        batch = await studio.batch(str(tmp_path / name))
        assert batch.progress.total == 2
        assert len(batch.refused) == 1
        assert str(batch.refused[0]).startswith(REASONS[name])
        assert f"Refused 1: {REASONS[name]}" in str(batch)
        await batch.wait()
    assert sorted(batch_server.sent) == ["a bear", "a fox"]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "parquet"])
async def test_data_frames_and_parquet_files_can_be_batches(
    batch_server: "BatchServer", tmp_path: Path, library: str
) -> None:
    pytest.importorskip("narwhals")
    source: Any
    if library in {"pandas", "polars"}:
        source = pytest.importorskip(library).DataFrame(ROWS)
    else:
        source = pytest.importorskip("pyarrow").table(ROWS)
    if library == "parquet":
        path = tmp_path / "prompts.parquet"
        pytest.importorskip("pyarrow.parquet").write_table(source, path)
        source = path
    async with batch_server.studio(tmp_path / "images") as studio:
        batch = await studio.batch(source)
        assert await batch.wait()
        assert [each.item.prompt for each in batch.results()] == ["a fox", "a bear"]
        assert batch.images[0].seed == 7
    assert [str(each) for each in batch.refused] == [
        "row 1: Width 3 is not a multiple of 16. Nearest valid width is 16.",
        "row 2: It has no prompt.",
    ]


def test_a_frame_may_come_from_the_results_of_another_studio(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    pandas: Any = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    with BlockingStudio(batch_server, output_dir=tmp_path) as studio:
        batch = studio.batch(pandas.DataFrame({"prompt": ["a fox"] * 3, "seed": [1, 2, 3]}))
        frame = batch.results().to_frame()
        again = studio.batch(frame[["prompt", "seed", "width", "height"]])
        again.wait()
        assert [image.reused for _, image in sorted(again.images.items())] == [True] * 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": ["a fox"], "sampler": ["Euler"]}, "'sampler' cannot be set: vLLM-Omni offers no choice"),
        (
            {"prompt": ["a fox"], "colour": ["red"]},
            "'colour' is not a parameter of an image. Allowed: prompt",
        ),
        ({"seed": [1]}, "it has no prompt column"),
        ({"prompt": ["a fox"], "steps": [4], "Sampling steps": [4]}, "two of its columns mean num_inference"),
        ({"prompt": []}, "has no row that can be used. It is empty."),
        ({"prompt": [" "]}, "has no row that can be used. row 0: "),
    ],
)
async def test_a_frame_that_cannot_be_used_says_why(
    batch_server: "BatchServer", tmp_path: Path, columns: dict[str, list[Any]], message: str
) -> None:
    pytest.importorskip("narwhals")
    frame = pytest.importorskip("polars").DataFrame(columns)
    async with batch_server.studio(tmp_path / "images") as studio:
        with pytest.raises(InvalidRequest, match=message):
            await studio.batch(frame)
    assert batch_server.sent == []
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "none.csv cannot be read: "),
        ("bad.parquet", b"junk", "bad.parquet cannot be used: it cannot be read as a Parquet file"),
        ("bad.csv", b"prompt,colour\na fox,red\n", "it has an unknown column 'colour'"),
        ("empty.txt", b"\n", "empty.txt has no row that can be used. It is empty."),
    ],
)
async def test_a_file_that_cannot_be_used_says_why(
    batch_server: "BatchServer", tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    pytest.importorskip("narwhals")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    async with batch_server.studio(tmp_path / "images") as studio:
        with pytest.raises(InvalidRequest) as caught:
            await studio.batch(tmp_path / name)
    assert message in str(caught.value)
    assert batch_server.sent == []


def test_a_string_is_a_path_if_it_ends_like_a_file_name() -> None:
    assert [is_row_source(each) for each in ("prompts.CSV", "~/a b.jsonl", Path("prompts"))] == [True] * 3
    assert [is_row_source(each) for each in ("a fox", "a fox.", "a\nb.csv", ["a.csv"], b"a.csv")] == [
        False
    ] * 5
