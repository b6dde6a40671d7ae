"""Generate a dataset: one image for each row of a source, with the engine of your choice, and none twice."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Unpack, get_args

from vllm_image_core.batches.worker_pool import run_items
from vllm_image_core.blocking.loop_thread import LoopThread
from vllm_image_core.checks import invalid_value
from vllm_image_core.datasets.image_generator import GeneratorSettings, GeneratorSpec, ImageGenerator
from vllm_image_core.datasets.image_row import ImageRow
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.progress import DatasetProgress, ProgressCounter
from vllm_image_core.datasets.row_parts import RowParts, read_finished
from vllm_image_core.datasets.source import RowSource, Source, open_source
from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.fleet.backend import Backend

Engine = Literal["local", "daft", "ray"]
"""What runs the rows: this process, Daft or Ray Data."""

_REPORT_SECONDS: Final = 0.5

Report = Callable[[DatasetProgress], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRun(Displayed):
    """What a run of `generate_dataset` did.

    Attributes:
        id: The run's id, which begins the names of its files.
        out: The folder or the address of the images and their rows.
        engine: What ran it.
        progress: The final counts.
    """

    id: str
    out: str
    engine: Engine
    progress: DatasetProgress

    def _card(self) -> Card:
        counts = self.progress
        facts = {
            "generated": f"{counts.done:,}",
            "found in the store": f"{counts.reused + counts.skipped:,}",
            "failed": f"{counts.failed:,}",
            "seconds": f"{counts.seconds:.1f}",
            "engine": self.engine,
        }
        return Card(title=f"Dataset in {self.out}", facts=facts)


def generate_dataset(
    source: Source,
    out: str | Path,
    *,
    servers: str | Backend | Sequence[str | Backend],
    engine: Engine = "local",
    address: str | None = None,
    on_progress: Report | None = None,
    **settings: Unpack[GeneratorSettings],
) -> DatasetRun:
    """Generate an image for each row of a source, in this process or on a cluster; blocks until it is done.

    Images go to ``out/images``, under the id of their request, and a Parquet row for each to ``out/rows``;
    rows that failed are in ``out/failures``. A run that was interrupted is continued by calling this again,
    with any engine: what is finished is not generated again, and what failed is tried again.

    Args:
        source: A file or a folder, a data frame, a Dataset of Ray, a DataFrame of Daft, prompts, or rows. Its
            columns are the fields of an ``ImageRequest``; ``copy`` numbers images of equal rows. A row
            without a seed gets one that depends only on its values.
        out: A folder, or an address that begins with s3://, gs:// or az://.
        servers: The servers' URLs; with the engine "local", other backends, too.
        engine: "local" for this process, "daft" or "ray".
        address: The address of a Ray cluster, such as "auto"; None starts Ray on this machine.
        on_progress: Called with the progress, at most twice a second.
        settings: As in ``ImageGenerator``.

    Raises:
        InvalidRequest: The source, a column, the store or the engine cannot be used; nothing was sent.
        MissingPackage: A library is not installed.
        CannotSave: The store did not take the rows; the images are in it.
        RunStopped: The servers or the store were unavailable for too long. Call it again.
    """
    if engine not in get_args(Engine):
        raise invalid_value("engine", engine, "is not an engine", ", ".join(get_args(Engine)))
    listed = [servers] if isinstance(servers, str) or not isinstance(servers, Sequence) else list(servers)
    store = ObjectStore(out, settings.get("store_options"))
    rows = open_source(source)
    loop = LoopThread()
    try:
        recorder = loop.wait_for(_Recorder.open(store, rows.total, on_progress))
        if engine == "local":
            generator = ImageGenerator(listed, out, **settings)
            loop.wait_for(_run_here(rows, generator, recorder))
        else:
            spec = GeneratorSpec(_urls(listed), store.address, settings)
            _record(_run_on(engine, rows, spec, address), recorder, loop, rows.total or 0)
    finally:
        loop.stop()
    return DatasetRun(id=recorder.run, out=store.address, engine=engine, progress=recorder.progress)


class _Recorder:
    """Records the rows of a run in the store, and reports its progress."""

    def __init__(self, parts: RowParts, run: str, total: int | None, on_progress: Report | None) -> None:
        self.run = run
        self._parts = parts
        self._counter = ProgressCounter(total)
        self._on_progress = on_progress
        self._reported = 0.0

    @classmethod
    async def open(cls, store: ObjectStore, total: int | None, on_progress: Report | None) -> "_Recorder":
        run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        parts = RowParts(store, run, await read_finished(store))
        return cls(parts, run, total, on_progress)

    @property
    def progress(self) -> DatasetProgress:
        return self._counter.progress

    async def add(self, rows: Iterable[ImageRow | None]) -> None:
        for row in rows:
            self._counter.count(row, new=row is not None and await self._parts.add(row))
        if self._on_progress is not None and time.monotonic() - self._reported >= _REPORT_SECONDS:
            self._report(self._on_progress)

    def skip_to(self, count: int) -> None:
        """Count the rows that the processes skipped, and so did not report."""
        self._counter.skip(max(0, count - self.progress.ended_count))

    async def flush(self) -> None:
        await self._parts.flush()
        if self._on_progress is not None:
            self._report(self._on_progress)

    def _report(self, on_progress: Report) -> None:
        self._reported = time.monotonic()
        on_progress(self.progress)


async def _run_here(source: RowSource, generator: ImageGenerator, recorder: _Recorder) -> None:
    at_once = 2 * generator.max_in_flight  # rows that are checked and looked up while others are generated
    async with (
        generator,
        aclosing(_pages(source)) as rows,
        run_items(generator.generate, rows, at_once=at_once) as pool,
    ):
        try:
            async for done in pool:
                await recorder.add([done.value])
        finally:
            await asyncio.shield(recorder.flush())


async def _pages(source: RowSource) -> AsyncGenerator[Mapping[str, object]]:
    """Yield the rows, reading each table in a thread."""
    tables = iter(source.tables())
    while (table := await asyncio.to_thread(next, tables, None)) is not None:
        for row in table.to_pylist():
            yield row


def _run_on(
    engine: Engine, source: RowSource, spec: GeneratorSpec, address: str | None
) -> Iterator[Sequence[ImageRow]]:
    if engine == "daft":
        from vllm_image_core.datasets.daft_engine import run_on_daft  # noqa: PLC0415 - Daft is optional

        return run_on_daft(source, spec)
    from vllm_image_core.datasets.ray_engine import run_on_ray  # noqa: PLC0415 - Ray is optional

    return run_on_ray(source, spec, address=address)


def _record(found: Iterator[Sequence[ImageRow]], recorder: _Recorder, loop: LoopThread, total: int) -> None:
    try:
        for rows in found:
            loop.wait_for(recorder.add(rows))
        recorder.skip_to(total)
    finally:
        loop.wait_for(recorder.flush())


def _urls(servers: Sequence[str | Backend]) -> list[str]:
    others = [each for each in servers if not isinstance(each, str)]
    if others:
        raise invalid_value("servers", others[0], "cannot be sent to other processes", "the servers' URLs")
    return [each for each in servers if isinstance(each, str)]
