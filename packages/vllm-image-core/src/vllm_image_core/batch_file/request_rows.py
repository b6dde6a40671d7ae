"""RequestRows: read the requests in a batch file or a data frame; list the bad rows, and use the others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeGuard

from vllm_image_core.batch_file.frame_rows import DataFrame, frame_rows, is_frame, parquet_rows
from vllm_image_core.batch_file.reader import Row, UnreadableFile, format_of, rows
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import path_text, system_reason

_SUFFIXES: Final = frozenset({".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"})
_ALLOWED: Final = "a .txt, .csv, .tsv, .jsonl or .parquet file, or a data frame, with a prompt in each row"
_YIELD_EVERY: Final = 200
"""Rows to read before yielding to the event loop."""

_NAMED: Final = 3
"""How many refused rows an error names."""

Make = Callable[[Mapping[str, object]], Sequence[ImageRequest]]
"""Makes the requests of one row."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that cannot be used.

    Attributes:
        number: Its line in the file, from 1; in a data frame or a Parquet file, its position from 0.
        reason: Why, in a sentence.
        unit: What the number counts.
    """

    number: int
    reason: str
    unit: Literal["line", "row"]

    def __str__(self) -> str:
        return f"{self.unit} {self.number}: {self.reason}"


def is_row_source(source: object) -> TypeGuard[str | Path | DataFrame]:
    """Check whether a source of requests is a path or a data frame; a str is a path if it ends like one."""
    if isinstance(source, str):
        return "\n" not in source and Path(source).suffix.lower() in _SUFFIXES
    return isinstance(source, Path) or is_frame(source)


class RequestRows:
    """The requests of a file or a data frame.

    Args:
        source: A path or a data frame.
        make: Makes the requests of one row.

    Attributes:
        refused: The rows that cannot be used, in their order, as far as they have been read.
    """

    def __init__(self, source: str | Path | DataFrame, make: Make) -> None:
        self.refused: list[RefusedRow] = []
        self._source = source
        self._make = make
        self._name = path_text(source) if isinstance(source, str | Path) else "The data frame"
        is_text = isinstance(source, str | Path) and Path(source).suffix.lower() != ".parquet"
        self._unit: Literal["line", "row"] = "line" if is_text else "row"

    async def begin(self, check: Callable[[ImageRequest], Awaitable[object]]) -> AsyncIterator[ImageRequest]:
        """Return the requests that pass a check, once the first of them was found.

        Raises:
            InvalidRequest: The source cannot be read, or none of its rows can be used.
        """
        requests = self._requests(check)
        first = await anext(requests, None)
        if first is None:
            named = " ".join(map(str, self.refused[:_NAMED])) or "It is empty."
            raise self._refusal(f"{self._name} has no row that can be used. {named}")
        return _chain(first, requests)

    async def _requests(
        self, check: Callable[[ImageRequest], Awaitable[object]]
    ) -> AsyncIterator[ImageRequest]:
        for count, row in enumerate(self._rows()):
            if count % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
            try:
                requests = () if row.refusal else self._make(row.values)
                for request in requests:
                    await check(request)
            except InvalidRequest as error:
                self._refuse(row, row.reword(str(error), error.parameter))
            else:
                if row.refusal:
                    self._refuse(row, row.refusal)
                for request in requests:
                    yield request

    def _refuse(self, row: Row, reason: str) -> None:
        self.refused.append(RefusedRow(row.line, reason, self._unit))

    def _rows(self) -> Iterator[Row]:
        try:
            yield from self._read()
        except UnreadableFile as error:
            raise self._refusal(f"{self._name} cannot be used: {error}.") from error
        except OSError as error:
            raise self._refusal(f"{self._name} cannot be read: {system_reason(error)}.") from error

    def _read(self) -> Iterator[Row]:
        if not isinstance(self._source, str | Path):
            yield from frame_rows(self._source)
            return
        path = Path(self._source).expanduser()
        if path.suffix.lower() == ".parquet":
            yield from parquet_rows(path)
            return
        with path.open("rb") as file:
            yield from rows(file, format_of(path.name))

    def _refusal(self, message: str) -> InvalidRequest:
        return InvalidRequest(
            message,
            parameter="requests",
            value=self._name,
            allowed=_ALLOWED,
            next_step="Correct the file or the frame, and call again; nothing was sent.",
        )


async def _chain(first: ImageRequest, rest: AsyncIterator[ImageRequest]) -> AsyncIterator[ImageRequest]:
    yield first
    async for request in rest:
        yield request
