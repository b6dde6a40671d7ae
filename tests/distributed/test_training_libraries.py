"""The libraries that train models read the shards."""

from pathlib import Path
from typing import Any

import pytest
from server_pair import ServerPair
from vllm_image_core import generate_dataset, write_shards

datasets: Any = pytest.importorskip("datasets")
webdataset: Any = pytest.importorskip("webdataset")

PROMPTS = [f"fox {number}" for number in range(12)]


@pytest.fixture
def made(servers: ServerPair, tmp_path: Path) -> Path:
    rows = [{"prompt": prompt, "width": 64, "height": 64} for prompt in PROMPTS]
    generate_dataset(rows, tmp_path / "dataset", servers=servers.urls)
    return tmp_path / "dataset"


def test_webdataset_reads_tar_shards(made: Path, tmp_path: Path) -> None:
    shards = write_shards(made, tmp_path / "shards", samples_per_shard=5)
    urls = [str(tmp_path / "shards" / name) for name in shards.names]

    samples = list(
        webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("png", "txt", "json")
    )

    assert sorted(prompt for _, prompt, _ in samples) == sorted(PROMPTS)
    assert {image.size for image, _, _ in samples} == {(64, 64)}
    ids = [facts["id"] for _, _, facts in samples]
    assert ids == sorted(ids)


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_datasets_reads_both(kind: Any, made: Path, tmp_path: Path) -> None:  # noqa: ANN401 - a parameter
    write_shards(made, tmp_path / "shards", format=kind, samples_per_shard=5)

    loaded = datasets.load_dataset(str(tmp_path / "shards"), split="train", cache_dir=str(tmp_path / "cache"))

    assert len(loaded) == len(PROMPTS)
    first = loaded[0]
    image = first["image"] if kind == "parquet" else first["png"]
    assert image.size == (64, 64)
    assert (first["prompt"] if kind == "parquet" else first["txt"]) in PROMPTS
