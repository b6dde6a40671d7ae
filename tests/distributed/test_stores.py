"""A dataset in a bucket: written once, read back, and packed for training."""

import asyncio
import http.client
from collections.abc import Iterator
from typing import Any

import pytest
from server_pair import ServerPair
from vllm_image_core import generate_dataset, write_shards
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.row_parts import read_rows

moto: Any = pytest.importorskip("moto.server")

ROWS = [{"prompt": f"fox {number}", "width": 64, "height": 64} for number in range(20)]


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, str]]:
    """The options of an S3 server in this process, which has the bucket `foxes`."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    connection = http.client.HTTPConnection(host, port, timeout=30)
    connection.request("PUT", "/foxes")
    assert connection.getresponse().status == 200
    connection.close()
    yield {
        "aws_endpoint": url,
        "aws_access_key_id": "anything",
        "aws_secret_access_key": "anything",
        "aws_region": "us-east-1",
    }
    server.stop()


async def test_an_object_is_written_once(options: dict[str, str]) -> None:
    store = ObjectStore("s3://foxes/once", options)

    assert await store.create("images/a.png", b"first")
    assert not await store.create("images/a.png", b"second")

    assert await store.read("images/a.png") == b"first"
    assert await store.read("images/b.png") is None
    assert [name async for name in store.names("images")] == ["images/a.png"]
    assert store.name_of(store.uri("images/a.png")) == "images/a.png"


async def test_of_many_writers_one_wins(options: dict[str, str]) -> None:
    stores = [ObjectStore("s3://foxes/race", options) for _ in range(8)]

    won = await asyncio.gather(
        *(store.create("a", str(number).encode()) for number, store in enumerate(stores))
    )

    assert sum(won) == 1
    assert await stores[0].read("a") == str(won.index(True)).encode()


def test_a_dataset_in_a_bucket_is_continued_and_packed(options: dict[str, str], servers: ServerPair) -> None:
    out = "s3://foxes/dataset"

    generate_dataset(ROWS[:10], out, servers=servers.urls, store_options=options)
    run = generate_dataset(ROWS, out, servers=servers.urls, store_options=options, engine="daft")
    shards = write_shards(out, "s3://foxes/shards", store_options=options)

    assert (run.progress.done, servers.generated, shards.samples) == (10, 20, 20)
    rows = asyncio.run(read_rows(ObjectStore(out, options)))
    assert all((row.uri or "").startswith("s3://foxes/dataset/images/") for row in rows)
