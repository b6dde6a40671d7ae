"""A dataset in a bucket: written once, read back, and packed for training."""

import asyncio
import shutil
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from buckets import AZURITE, SEAWEEDFS, Bucket, azure_bucket, google_bucket, s3_bucket, seaweedfs_bucket
from server_pair import ServerPair
from vllm_image_core import generate_dataset, write_shards
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.row_parts import read_rows

ROWS = [{"prompt": f"fox {number}", "width": 64, "height": 64} for number in range(20)]
START_SECONDS = 60


@pytest.fixture(scope="module", params=["s3", "seaweedfs", "gs", "az"])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A bucket of each kind on this machine."""
    with opened(request.param, tmp_path_factory.mktemp("bucket")) as found:
        yield found


@contextmanager
def opened(kind: str, folder: Path) -> Generator[Bucket]:
    if kind == "s3":
        with s3_bucket(pytest.importorskip("moto.server")) as bucket:
            yield bucket
    elif kind == "gs":
        with google_bucket() as bucket:
            yield bucket
    else:
        program, bucket_of = (SEAWEEDFS, seaweedfs_bucket) if kind == "seaweedfs" else (AZURITE, azure_bucket)
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; uvx nox -s stores installs it")
        with bucket_of(wait_for, folder) as bucket:
            yield bucket


def wait_for(port: int) -> None:
    """Wait until a port accepts connections."""
    for _ in range(10 * START_SECONDS):
        with socket.socket() as connection:
            connection.settimeout(1)
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the store does not answer")


async def test_an_object_is_written_once(bucket: Bucket) -> None:
    store = ObjectStore(f"{bucket.address}/once", bucket.options)

    assert await store.create("images/a.png", b"first")
    assert not await store.create("images/a.png", b"second")

    assert await store.read("images/a.png") == b"first"
    assert await store.read("images/b.png") is None
    assert [name async for name in store.names("images")] == ["images/a.png"]
    assert store.name_of(store.uri("images/a.png")) == "images/a.png"


async def test_an_object_can_be_replaced_on_purpose(bucket: Bucket) -> None:
    store = ObjectStore(f"{bucket.address}/replaced", bucket.options)
    await store.create("a.json", b"first")

    await store.replace("a.json", b"second")

    assert await store.read("a.json") == b"second"


async def test_of_many_writers_one_wins(bucket: Bucket) -> None:
    stores = [ObjectStore(f"{bucket.address}/race", bucket.options) for _ in range(8)]

    won = await asyncio.gather(
        *(store.create("a", str(number).encode()) for number, store in enumerate(stores))
    )

    assert sum(won) == 1
    assert await stores[0].read("a") == str(won.index(True)).encode()


def test_a_dataset_in_a_bucket_is_continued_and_packed(bucket: Bucket, servers: ServerPair) -> None:
    pytest.importorskip("daft")
    out = f"{bucket.address}/dataset"
    options = bucket.options

    generate_dataset(ROWS[:10], out, servers=servers.urls, store_options=options)
    run = generate_dataset(ROWS, out, servers=servers.urls, store_options=options, engine="daft")
    shards = write_shards(out, f"{bucket.address}/shards", store_options=options)

    assert (run.progress.done, servers.generated, shards.samples) == (10, 20, 20)
    rows = asyncio.run(read_rows(ObjectStore(out, options)))
    assert all((row.uri or "").startswith(f"{out}/images/") for row in rows)
