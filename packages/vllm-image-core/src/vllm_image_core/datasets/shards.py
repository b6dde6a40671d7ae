"""Shards: pack the images of a dataset into WebDataset or Parquet files for training."""

import asyncio
import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, get_args

from vllm_image_core.blocking.loop_thread import LoopThread
from vllm_image_core.checks import check_integer, invalid_value
from vllm_image_core.datasets.dataset_card import dataset_card
from vllm_image_core.datasets.image_row import pyarrow
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.training_sample import SampleFilter, TrainingSample, read_samples
from vllm_image_core.errors import CannotSave
from vllm_image_core.models.registry import Registry

__all__ = ["ShardFormat", "ShardSet", "shard_name", "write_shards"]

ShardFormat = Literal["webdataset", "parquet"]

_MOST_SAMPLES: Final = 100_000
_MOST_BYTES: Final = 256 * 2**20
"""A shard ends after this many bytes, all of which are held in memory until it is written."""

_FOLDER_SHARDS: Final = 5_000
"""Shards of one folder: the Hugging Face Hub takes at most 10,000 files in each."""

_MANIFEST: Final = "manifest.json"
_CARD: Final = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSet:
    """What `write_shards` wrote.

    Attributes:
        address: The folder or the address of the shards.
        names: The shards, in order.
        samples: Images in all of them.
    """

    address: str
    names: tuple[str, ...]
    samples: int


def write_shards(
    dataset: str | Path,
    target: str | Path,
    *,
    format: ShardFormat = "webdataset",  # noqa: A002 - the field's own name, and keyword-only
    filter: SampleFilter | None = None,  # noqa: A002 - likewise
    samples_per_shard: int = 1_000,
    title: str = "Generated images",
    store_options: Mapping[str, str] | None = None,
    registry: Registry | None = None,
) -> ShardSet:
    """Pack the images of a dataset into shards for training, in the order of their ids; blocks.

    Each shard appears complete or not at all. ``manifest.json``, which lists them with their hashes, is
    written last: a folder without it is not finished, and calling this again finishes it. ``README.md`` is a
    dataset card for the Hugging Face Hub, with what the licences of the models restrict.

    Args:
        dataset: What `generate_dataset` wrote.
        target: A folder for the shards, or an address.
        format: "webdataset" for tar files with a .png, .txt and .json of each image, read by `webdataset` and
            `datasets`; "parquet" for Parquet files with a column of images, read by `datasets`.
        filter: Which images are used; None for all.
        samples_per_shard: Images of a shard, 1 to 100,000. A shard also ends after 256 MiB.
        title: The title of the dataset card.
        store_options: Options of the buckets, as in `generate_dataset`.
        registry: Model profiles, for the licences; None for those that come with this package.

    Raises:
        InvalidRequest: An argument cannot be used.
        CannotSave: The target has other shards, or does not take these.
        MissingPackage: obstore or pyarrow is not installed.
    """
    if format not in get_args(ShardFormat):
        raise invalid_value("format", format, "is not a format", ", ".join(get_args(ShardFormat)))
    allowed = f"1 to {_MOST_SAMPLES:,}"
    most = check_integer("samples_per_shard", samples_per_shard, 1, _MOST_SAMPLES, allowed=allowed)
    source, goal = ObjectStore(dataset, store_options), ObjectStore(target, store_options)
    writer = _ShardWriter(goal, format, most)
    chosen = filter or SampleFilter()
    loop = LoopThread()
    try:
        loop.wait_for(writer.write(source, chosen, title, registry or Registry.builtin()))
    finally:
        loop.stop()
    return ShardSet(address=goal.address, names=tuple(writer.shards), samples=writer.samples)


class _ShardWriter:
    """Writes the shards of one set.

    Attributes:
        shards: The hash of each shard, by its name.
        samples: Images so far.
    """

    def __init__(self, goal: ObjectStore, kind: ShardFormat, most: int) -> None:
        self.shards: dict[str, str] = {}
        self.samples = 0
        self._goal = goal
        self._kind: ShardFormat = kind
        self._most = most
        self._models: Counter[str] = Counter()

    async def write(self, source: ObjectStore, chosen: SampleFilter, title: str, registry: Registry) -> None:
        waiting: list[TrainingSample] = []
        size = 0
        async with aclosing(read_samples(source, chosen)) as samples:
            async for sample in samples:
                waiting.append(sample)
                size += len(sample.picture.bytes)
                if len(waiting) >= self._most or size >= _MOST_BYTES:
                    await self._write(waiting)
                    waiting, size = [], 0
        if waiting:
            await self._write(waiting)
        card = dataset_card(
            title=title, kind=self._kind, models=self._models, chosen=str(chosen), registry=registry
        )
        await self._goal.replace(_CARD, card.encode())
        manifest = {
            "format": self._kind,
            "samples": self.samples,
            "filter": str(chosen),
            "models": dict(sorted(self._models.items())),
            "shards": self.shards,
        }
        await self._goal.replace(_MANIFEST, json.dumps(manifest, indent=2).encode())

    async def _write(self, samples: Sequence[TrainingSample]) -> None:
        pack = _tar if self._kind == "webdataset" else _parquet
        extension = "tar" if self._kind == "webdataset" else "parquet"
        name = shard_name(len(self.shards), extension)
        data = await asyncio.to_thread(pack, samples)
        if not await self._goal.create(name, data) and await self._goal.read(name) != data:
            raise CannotSave(
                f"{self._goal.address} has another {name}.",
                next_step="Choose an empty folder for the shards.",
            )
        self.shards[name] = hashlib.sha256(data).hexdigest()
        self.samples += len(samples)
        self._models.update(sample.row.model or "unknown" for sample in samples)


def shard_name(number: int, extension: str) -> str:
    """Return the name of a shard, by its number from 0: in a folder of its own for each 5,000 of them."""
    folder = number // _FOLDER_SHARDS
    return f"{f'{folder:05}/' if folder else ''}shard-{number:05}.{extension}"


def _tar(samples: Sequence[TrainingSample]) -> bytes:
    """Pack samples into a tar file that has the same bytes each time."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for sample in samples:
            for extension, data in _members(sample):
                info = tarfile.TarInfo(f"{sample.id}.{extension}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _members(sample: TrainingSample) -> Iterator[tuple[str, bytes]]:
    yield sample.picture.extension, sample.picture.bytes
    yield "txt", sample.prompt.encode()
    yield "json", json.dumps(_facts(sample), ensure_ascii=False, sort_keys=True).encode()


def _facts(sample: TrainingSample) -> dict[str, object]:
    row = sample.row
    facts = {
        "id": sample.id,
        "prompt": sample.prompt,
        "width": row.width,
        "height": row.height,
        "seed": row.seed,
        "model": row.model,
        "sha256": row.sha256,
        "score": sample.score,
    }
    return {name: value for name, value in facts.items() if name != "score" or value is not None}


def _parquet(samples: Sequence[TrainingSample]) -> bytes:
    arrow = pyarrow()
    rows = [
        {
            "image": {
                "bytes": sample.picture.bytes,
                "path": f"{sample.id}.{sample.picture.extension}",
            },
            **_facts(sample),
        }
        for sample in samples
    ]
    table = arrow.Table.from_pylist(rows)
    features: dict[str, Any] = {
        name: {"_type": "Image"} if name == "image" else {"_type": "Value", "dtype": _dtype(each.type)}
        for name, each in zip(table.column_names, table.schema, strict=True)
    }
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = io.BytesIO()
    import_module("pyarrow.parquet").write_table(table, file)
    return file.getvalue()


def _dtype(kind: object) -> str:
    """Return the name that `datasets` has for a type of pyarrow."""
    return {"double": "float64"}.get(str(kind), str(kind))
