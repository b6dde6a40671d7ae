"""Shards have the images in the order of their ids, the same bytes each time, and end with a manifest."""

import hashlib
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vllm_image_core.datasets.dataset import generate_dataset
from vllm_image_core.datasets.shards import shard_name, write_shards
from vllm_image_core.datasets.training_sample import SampleFilter
from vllm_image_core.errors import CannotSave, InvalidRequest

if TYPE_CHECKING:
    from conftest import BatchServer

pytest.importorskip("obstore")
pq: Any = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def dataset(batch_server: "BatchServer", tmp_path: Path) -> Path:
    rows = [{"prompt": f"fox {number}", "seed": number} for number in range(5)]
    generate_dataset(rows, tmp_path / "dataset", servers=batch_server)
    return tmp_path / "dataset"


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {each.name: file.read() for each in archive if (file := archive.extractfile(each))}


def test_webdataset_shards_have_image_prompt_and_facts(dataset: Path, tmp_path: Path) -> None:
    written = write_shards(dataset, tmp_path / "shards", samples_per_shard=2)

    assert written.names == ("shard-00000.tar", "shard-00001.tar", "shard-00002.tar")
    assert written.samples == 5
    found = [members(tmp_path / "shards" / name) for name in written.names]
    ids = [name.removesuffix(".png") for shard in found for name in shard if name.endswith(".png")]
    assert ids == sorted(path.stem for path in dataset.rglob("*.png"))
    first = found[0]
    facts = json.loads(first[f"{ids[0]}.json"])
    assert facts["prompt"].encode() == first[f"{ids[0]}.txt"]
    assert facts["sha256"] == hashlib.sha256(first[f"{ids[0]}.png"]).hexdigest()


def test_no_folder_has_more_than_10_000_shards_as_the_hub_requires() -> None:
    names = [shard_name(number, "tar") for number in range(60_000)]

    assert names[0] == "shard-00000.tar"
    assert len(set(names)) == len(names)
    assert max(Counter(name.rpartition("/")[0] for name in names).values()) <= 10_000
    assert names == sorted(names, key=lambda name: name.rpartition("/")[2])


def test_parquet_shards_hold_the_images(dataset: Path, tmp_path: Path) -> None:
    write_shards(dataset, tmp_path / "shards", format="parquet")

    table = pq.read_table(tmp_path / "shards" / "shard-00000.parquet")
    assert sorted(table.column("prompt").to_pylist()) == [f"fox {number}" for number in range(5)]
    assert table.column("image")[0].as_py()["bytes"].startswith(b"\x89PNG")
    assert b'"_type": "Image"' in table.schema.metadata[b"huggingface"]


def test_the_manifest_lists_the_shards_with_their_hashes(dataset: Path, tmp_path: Path) -> None:
    write_shards(dataset, tmp_path / "shards")

    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text("utf-8"))
    shard = (tmp_path / "shards" / "shard-00000.tar").read_bytes()
    assert manifest["shards"] == {"shard-00000.tar": hashlib.sha256(shard).hexdigest()}
    assert (manifest["samples"], manifest["filter"]) == (5, "none")
    assert manifest["models"] == {"black-forest-labs/FLUX.2-klein-4B": 5}


def test_a_set_that_was_interrupted_is_finished_and_another_is_refused(dataset: Path, tmp_path: Path) -> None:
    write_shards(dataset, tmp_path / "shards", samples_per_shard=2)
    (tmp_path / "shards" / "manifest.json").unlink()
    (tmp_path / "shards" / "shard-00002.tar").unlink()

    write_shards(dataset, tmp_path / "shards", samples_per_shard=2)

    assert (tmp_path / "shards" / "manifest.json").is_file()
    with pytest.raises(CannotSave, match=r"has another shard-00000\.tar"):
        write_shards(dataset, tmp_path / "shards", samples_per_shard=3)


def test_the_card_says_what_the_models_permit(dataset: Path, tmp_path: Path) -> None:
    write_shards(dataset, tmp_path / "shards", title="Foxes")

    card = (tmp_path / "shards" / "README.md").read_text("utf-8")
    assert card.startswith('---\npretty_name: "Foxes"\n')
    assert "- n<1K" in card
    assert "| black-forest-labs/FLUX.2-klein-4B | 5 |" in card


def test_only_images_that_pass_the_filter_are_used(dataset: Path, tmp_path: Path) -> None:
    ids = sorted(path.stem for path in dataset.rglob("*.png"))
    by_score = SampleFilter(score=lambda _, prompt: float(prompt[-1]), min_score=3)
    rated = SampleFilter(ratings={ids[0]: 5, ids[1]: 2}, min_rating=3)
    different = SampleFilter(duplicate_bits=0)  # the server draws one image for all

    assert write_shards(dataset, tmp_path / "a", filter=by_score).samples == 2
    assert write_shards(dataset, tmp_path / "b", filter=rated).samples == 1
    assert write_shards(dataset, tmp_path / "c", filter=different).samples == 1
    scores = [
        json.loads(data)["score"]
        for name, data in members(tmp_path / "a" / "shard-00000.tar").items()
        if name.endswith(".json")
    ]
    assert sorted(scores) == [3.0, 4.0]


def test_a_filter_needs_the_values_that_it_compares() -> None:
    with pytest.raises(InvalidRequest, match="ratings"):
        SampleFilter(min_rating=3)
    with pytest.raises(InvalidRequest, match="score"):
        SampleFilter(min_score=0.5)
    with pytest.raises(InvalidRequest, match="duplicate_bits: 17 is out of range"):
        SampleFilter(duplicate_bits=17)


def test_an_unknown_format_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Allowed: webdataset, parquet"):
        write_shards(dataset, tmp_path / "shards", format="zip")  # type: ignore[arg-type]  # unchecked


def test_a_tar_file_contains_no_times(dataset: Path, tmp_path: Path) -> None:
    write_shards(dataset, tmp_path / "shards")

    data = (tmp_path / "shards" / "shard-00000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert {each.mtime for each in archive} == {0}
