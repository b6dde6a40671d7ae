"""The `batch` command: generate an image for each row of a text, CSV, JSON Lines or Parquet file."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click
from vllm_image_core.batch_file import FORMATS, NOT_UTF8, UnreadableFile, format_of, rows
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.error_messages import row_sentence
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from vllm_image_core.batch_file import Row

    from vllm_image_mcp.state import State

_LINES_NAMED = 10
"""How many line numbers one message lists before it says "and N more"."""

_MOST_REASONS = 1_000
"""How many different reasons are collected before they are printed."""


@click.command(cls=GroupedOptions)
@click.argument("file", type=click.File("rb"))
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="Format of FILE. Default: inferred from the file name.",
)
@shared_options.request_options("batch")
@click.option(
    "--seed",
    type=int,
    metavar="N",
    callback=shared_options.none_if_random,
    help="Seed of the first row; the next gets N + 1, and so on. Default, and -1: random.",
)
@shared_options.variation_options
@shared_options.fresh
@shared_options.quiet
@shared_options.as_json
@with_state
async def batch(
    state: State,
    file: BinaryIO,
    *,
    kind: str | None,
    dry_run: bool,
    fresh: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - click's options, by name
) -> int:
    """Generate an image for each row of a file.

    A text FILE has one prompt per line. A .csv file has a header with the columns prompt, width, seed and so
    on; a .jsonl file has one object per line with the same names, and a .parquet file the same columns.
    Options fill in whatever a row does not set. Rows may also have size, count, sweep, zip and wildcards. Use
    - as FILE to read standard input.

    All rows are recorded before the first request is sent: after a crash, `resume ID` generates the missing
    images. Invalid rows are reported by line number, and the others are generated. Press Ctrl-C to finish
    the images in progress and stop, twice to stop at once. The exit status is 1 if a row was refused or an
    image failed.
    """
    from vllm_image_mcp.cli.batch_progress import BatchProgress, show_forecast  # noqa: PLC0415 - slow to import

    source = _BatchSource(file, kind, options)
    state.check_folder()
    requests = source.requests(state)
    if dry_run:
        listed = [each async for each in requests]
        if listed:
            show_forecast(await state.studio.batch(listed).forecast(), as_json=as_json)
        else:
            source.check_any()
        return 1 if source.refused else 0
    first = await anext(requests, None)
    if first is None:
        source.check_any()
        return 1

    async def all_requests() -> AsyncIterator[ImageRequest]:
        yield first
        async for request in requests:
            yield request

    handle = state.studio.batch(all_requests(), fresh=fresh, recorded_first=True)
    status = await BatchProgress(state, handle, as_json=as_json, quiet=quiet, lines=source.lines).show()
    return status or (1 if source.refused else 0)


class _BatchSource:
    """The requests of an open file, and the lines of the rows that were refused.

    Attributes:
        lines: The line number of each request.
        refused: How many rows were refused.
    """

    def __init__(self, file: BinaryIO, kind: str | None, options: dict[str, Any]) -> None:
        self.name = str(getattr(file, "name", "-"))
        self.lines = array("L")
        self.refused = 0
        self._unit = "line"
        if kind is None and self.name.lower().endswith(".parquet"):
            from vllm_image_core.batch_file.frame_rows import parquet_rows  # noqa: PLC0415 - rarely needed

            self._unit = "row"
            self._rows = parquet_rows(Path(self.name))
        else:
            self._rows = rows(file, kind or format_of(self.name))  # type: ignore[arg-type]  # one of the choices
        self._variations = shared_options.take_variations(options)
        self._seed: int | None = options.pop("seed")
        self._shared = ImageRequest(prompt="", **options)
        self._reported: set[str] = set()
        self._reasons: defaultdict[str, list[int]] = defaultdict(list)

    async def requests(self, state: State) -> AsyncIterator[ImageRequest]:
        """Yield the requests that the loaded model accepts; report the refused rows at the end."""
        expansion = state.studio.expansion(self._variations, self._shared)
        for row in self._read():
            values = self._with_seed(row)
            try:
                requests = [] if row.refusal else expansion.of_prompt(values)
                why = row.refusal
                for request in requests:
                    await state.studio.check(request)
            except InvalidRequest as error:
                requests, why = [], row.reword(row_sentence(error), error.parameter)
            if why is not None:
                self._refuse(row.line, why)
            for request in requests:
                self.lines.append(row.line)
                yield request
        self._report_refused()

    def check_any(self) -> None:
        """Refuse a file that has no rows, or is not text."""
        if self.refused and self._reported == {NOT_UTF8}:
            raise click.UsageError(f"{self.name} is not UTF-8 text; save it as UTF-8.")
        if not self.refused:
            raise click.UsageError(f"{self.name} contains no prompts; write one on each line.")

    def _read(self) -> Iterable[Row]:
        try:
            yield from self._rows
        except UnreadableFile as error:
            raise click.UsageError(f"{self.name} cannot be used: {error}.") from error

    def _with_seed(self, row: Row) -> Mapping[str, object]:
        """The values of a row; its seed follows those of the rows above if the first one was given."""
        if self._seed is None:
            return row.values
        seed, count = self._seed, row.values.get("count", self._variations.count)
        self._seed += count if isinstance(count, int) else 1
        sweep = row.values.get("sweep")
        swept = isinstance(sweep, Mapping) and not {"seed", "seeds"}.isdisjoint(cast("Any", sweep))
        return row.values if swept else {"seed": seed, **row.values}

    def _refuse(self, line: int, why: str) -> None:
        self.refused += 1
        if len(self._reasons) >= _MOST_REASONS and why not in self._reasons:
            self._report_refused()
        self._reasons[why].append(line)

    def _report_refused(self) -> None:
        self._reported |= self._reasons.keys()
        for why, lines in self._reasons.items():
            echo(f"{_format_numbers(self._unit, lines)}: {why}", err=True)
        self._reasons.clear()


def _format_numbers(unit: str, numbers: Sequence[int]) -> str:
    """Format the numbers of the lines or rows that share one reason, such as "lines 3, 7 refused"."""
    if len(numbers) == 1:
        return f"{unit} {numbers[0]} refused"
    first = ", ".join(map(str, numbers[:_LINES_NAMED]))
    more = f" and {len(numbers) - _LINES_NAMED} more" if len(numbers) > _LINES_NAMED else ""
    return f"{unit}s {first}{more} refused"
