"""Image generator: an asynchronous callable that engines such as Ray Data map over batches of rows."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self, TypedDict, Unpack, cast

from vllm_image_core.batches.context import OUTAGE_SECONDS
from vllm_image_core.connection import ConnectionSettings, connect
from vllm_image_core.datasets.image_row import ImageRow, table_of_rows
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.datasets.row_generator import RowGenerator
from vllm_image_core.datasets.row_parts import read_finished
from vllm_image_core.datasets.row_request import check_columns
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.models.registry import Registry
from vllm_image_core.provenance.metadata import Metadata

_IN_FLIGHT: Final = 8
"""Requests in progress for each server: the fleet holds back those that are too many."""


class GeneratorSettings(TypedDict, total=False):
    """What an `ImageGenerator` takes besides its servers and its store; can be sent to other processes."""

    store_options: Mapping[str, str] | None
    defaults: Mapping[str, object] | None
    model: str | None
    registry: Registry | None
    metadata: Metadata | None
    max_in_flight: int | None
    outage_timeout: float
    connection: ConnectionSettings


class ImageGenerator:
    """Generates the images of rows: rows of parameters in, rows about images out, and no bytes in either.

    An instance is called with a batch of rows, as a mapping of columns, a pyarrow table or a pandas frame. It
    returns a pyarrow table with a row for each, whose columns are those of ``ImageRow``. An image is in the
    store before its row is returned, so that a batch may be repeated; a request that fails is a row, too.

    Args:
        servers: The servers, as URLs or backends.
        out: The store: a folder, or an address that begins with s3://, gs:// or az://.
        store_options: The bucket's options, such as ``aws_endpoint``; None for those of the environment.
        defaults: Values for the columns that the rows do not have.
        model: The model to use, if the servers list several.
        registry: Model profiles; None for those that come with this package.
        metadata: What to write into image files; None for everything.
        max_in_flight: Requests in progress at once, of this instance; None for 8 on each server.
        outage_timeout: Seconds to wait for unavailable servers or an unavailable store before the run stops.
        connection: Settings of the servers' client, such as ``api_key`` and ``timeout``.
        skip_finished: Whether to leave out rows whose images have a row in the store.

    Raises:
        InvalidRequest: The store's address or its options cannot be used.
        MissingPackage: obstore or pyarrow is not installed.
    """

    def __init__(
        self,
        servers: Sequence[str | Backend],
        out: str | Path,
        *,
        skip_finished: bool = False,
        **settings: Unpack[GeneratorSettings],
    ) -> None:
        self._servers = [servers] if isinstance(servers, str) else list(servers)
        self._settings = settings
        self._store = ObjectStore(out, settings.get("store_options"))
        self._skip = skip_finished
        self._generator: RowGenerator | None = None
        self._opening = asyncio.Lock()

    async def __call__(self, batch: object) -> Any:  # noqa: ANN401 - a pyarrow table; pyarrow is optional
        """Generate the images of a batch of rows, and return a pyarrow table with a row for each.

        Raises:
            InvalidRequest: A column is not a parameter.
            RunStopped: The servers or the store were unavailable for too long. Nothing is lost.
        """
        rows = _rows(batch)
        if rows:
            check_columns(rows[0])
        found = await asyncio.gather(*map(self.generate, rows))
        return table_of_rows(row for row in found if row is not None)

    async def generate(self, row: Mapping[str, object]) -> ImageRow | None:
        """Generate the image of one row; None if `skip_finished` leaves it out. Raises `RunStopped`."""
        return await (await self._ensure_open()).generate(row)

    async def aclose(self) -> None:
        """Close the connections to the servers."""
        if self._generator is not None:
            await self._generator.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def store(self) -> ObjectStore:
        """Where images and rows go."""
        return self._store

    @property
    def max_in_flight(self) -> int:
        """Requests in progress at once."""
        return self._settings.get("max_in_flight") or _IN_FLIGHT * len(self._servers)

    async def _ensure_open(self) -> RowGenerator:
        """Open the connections on the event loop that uses them, once."""
        if self._generator is None:
            async with self._opening:
                if self._generator is None:
                    self._generator = await self._open()
        return self._generator

    async def _open(self) -> RowGenerator:
        given = self._settings
        connection: ConnectionSettings = given.get("connection", {})
        if len(self._servers) > 1:  # another server gets what has failed
            connection = {**connection, "max_retries": 0}
        return RowGenerator(
            [connect(each, **connection) for each in self._servers],
            self._store,
            defaults=given.get("defaults"),
            finished=await read_finished(self._store) if self._skip else None,
            model=given.get("model"),
            registry=given.get("registry"),
            metadata=given.get("metadata"),
            max_in_flight=self.max_in_flight,
            outage_seconds=given.get("outage_timeout", OUTAGE_SECONDS),
        )


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """What other processes need to build the generator of a run.

    Attributes:
        servers: The servers' URLs.
        out: The store's address.
        settings: As in `ImageGenerator`.
    """

    servers: Sequence[str]
    out: str
    settings: GeneratorSettings

    @property
    def max_in_flight(self) -> int:
        """Requests in progress at once, in all processes together."""
        return self.settings.get("max_in_flight") or _IN_FLIGHT * len(self.servers)

    def share(self, processes: int) -> Self:
        """Return the settings for one of several processes, so that all together keep this limit."""
        own = max(1, -(-self.max_in_flight // processes))
        settings: GeneratorSettings = {**self.settings, "max_in_flight": own}
        return replace(self, settings=settings)

    def build(self) -> ImageGenerator:
        """Build the generator, which leaves out rows that are finished."""
        return ImageGenerator(self.servers, self.out, skip_finished=True, **self.settings)


def _rows(batch: object) -> list[Mapping[str, object]]:
    if isinstance(batch, Mapping):
        columns = cast("Mapping[str, Sequence[object]]", batch)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    to_list = cast("Callable[[], list[Mapping[str, object]]] | None", getattr(batch, "to_pylist", None))
    return to_list() if to_list is not None else cast("Any", batch).to_dict("records")
