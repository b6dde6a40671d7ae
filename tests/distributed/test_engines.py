"""Each engine generates each row once, and continues what another one began."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from server_pair import ServerPair
from vllm_image_core import ImageGenerator, ImageRow, generate_dataset
from vllm_image_core.datasets.dataset import Engine
from vllm_image_core.datasets.image_row import schema
from vllm_image_core.errors import RunStopped

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")
daft: Any = pytest.importorskip("daft")
ray: Any = pytest.importorskip("ray")

Finished = Callable[[Path], list[ImageRow]]


def rows(count: int) -> list[dict[str, object]]:
    return [{"prompt": f"fox {number}", "width": 64, "height": 64} for number in range(count)]


def test_daft_generates_each_row_once(servers: ServerPair, finished: Finished, tmp_path: Path) -> None:
    bad = {"prompt": "fox", "width": 7, "height": 64}

    run = generate_dataset([*rows(200), bad], tmp_path, servers=servers.urls, engine="daft")

    assert (run.progress.done, run.progress.failed) == (200, 1)
    assert servers.generated == 200
    assert len(finished(tmp_path)) == 200


@pytest.mark.parametrize("engine", ["local", "daft", "ray"], indirect=True)
def test_the_rows_may_be_in_files(
    engine: Engine, servers: ServerPair, finished: Finished, tmp_path: Path
) -> None:
    (tmp_path / "rows").mkdir()
    for part in range(2):
        pq.write_table(pa.Table.from_pylist(rows(20)[part::2]), tmp_path / "rows" / f"{part}.parquet")

    run = generate_dataset(tmp_path / "rows", tmp_path / "out", servers=servers.urls, engine=engine)

    assert (run.progress.total, run.progress.done) == (20, 20)
    assert len(finished(tmp_path / "out")) == 20


def test_a_run_started_locally_continues_on_daft_and_ends_on_ray(
    servers: ServerPair, finished: Finished, tmp_path: Path, ray_address: str
) -> None:
    shares: list[tuple[int, Engine]] = [(50, "local"), (75, "daft"), (100, "ray")]

    done = [
        generate_dataset(rows(count), tmp_path, servers=servers.urls, engine=engine).progress.done
        for count, engine in shares
    ]

    assert done == [50, 25, 25]
    assert servers.generated == 100
    assert len(finished(tmp_path)) == 100


def test_two_simultaneous_runs_store_each_image_once(
    servers: ServerPair, finished: Finished, tmp_path: Path
) -> None:
    def run(_number: int) -> int:
        return generate_dataset(rows(100), tmp_path, servers=servers.urls).progress.done

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run, range(2)))

    assert sum(done) == 100
    assert len(finished(tmp_path)) == 100
    assert 100 <= servers.generated <= 200


@pytest.mark.parametrize("engine", ["daft", "ray"], indirect=True)
def test_servers_that_stay_down_stop_the_run(engine: Engine, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"

    with pytest.raises(RunStopped, match=r"127\.0\.0\.1:9"):
        generate_dataset(rows(4), tmp_path, servers=nobody, engine=engine, outage_timeout=0.1)


def test_daft_and_ray_map_the_callable_themselves(
    servers: ServerPair, tmp_path: Path, ray_address: str
) -> None:
    kind = daft.DataType.from_arrow_type(pa.struct(list(schema())))
    urls, out = servers.urls, str(tmp_path)  # Daft sends the class to a worker of Ray

    @daft.cls(max_concurrency=1)
    class Images:
        def __init__(self) -> None:
            self._generator = ImageGenerator(urls, out)

        @daft.method.batch(return_dtype=kind, batch_size=4)
        async def generate(self, prompt: Any, width: Any) -> Any:  # noqa: ANN401 - Daft's
            table = await self._generator({"prompt": prompt.to_pylist(), "width": width.to_pylist()})
            return daft.Series.from_pylist(table.to_pylist(), dtype=kind)

    given = [{"prompt": f"fox {number}", "width": 64} for number in range(15)]
    frame = daft.from_pylist(given[:10])
    on_daft = frame.select(Images().generate(frame["prompt"], frame["width"]).alias("row")).to_pydict()
    on_ray = ray.data.from_items(given).map_batches(
        ImageGenerator,
        fn_constructor_args=(urls, out),
        batch_size=8,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=1),
    )

    assert [row["status"] for row in on_daft["row"]] == ["done"] * 10
    assert sorted(row["status"] for row in on_ray.take_all()) == ["done"] * 5 + ["reused"] * 10
    assert servers.generated == 15


def test_frames_of_daft_and_ray_are_sources(
    servers: ServerPair, finished: Finished, tmp_path: Path, ray_address: str
) -> None:
    frame, dataset = daft.from_pylist(rows(10)), ray.data.from_items(rows(20))

    generate_dataset(frame, tmp_path, servers=servers.urls, engine="daft")
    generate_dataset(dataset, tmp_path, servers=servers.urls, engine="ray")

    assert len(finished(tmp_path)) == 20
    assert servers.generated == 20
