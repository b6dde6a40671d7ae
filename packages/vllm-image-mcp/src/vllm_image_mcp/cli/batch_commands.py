"""The commands for batches: make one from a file, list them, go on with one, cancel one."""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.models.settings import QUALITIES
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import one_line

from vllm_image_mcp.cli.batch_file import FORMATS, NOT_UTF8, UnreadableFile, format_of, rows
from vllm_image_mcp.cli.batch_progress import BatchProgress, on_gpu
from vllm_image_mcp.cli.command import run
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.error_messages import in_our_words, sentence
from vllm_image_mcp.options import with_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from vllm_image_core.batches.summary import BatchSummary

    from vllm_image_mcp.cli.batch_file import Row
    from vllm_image_mcp.settings import Settings
    from vllm_image_mcp.state import State

__all__ = ["COMMANDS"]

_LINES_NAMED = 10
_MOST_REASONS = 1_000

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--format", "kind", type=click.Choice(FORMATS), help="What FILE is; otherwise its name tells.")
@click.option("--width", type=int, metavar="PIXELS")
@click.option("--height", type=int, metavar="PIXELS")
@click.option("--aspect-ratio", metavar="W:H")
@click.option("--steps", "num_inference_steps", type=int, metavar="N", help="Inference steps.")
@click.option("--guidance-scale", type=float, metavar="X")
@click.option("--seed", type=int, metavar="N", help="Of the first row; the next has N + 1, and so on.")
@click.option(
    "--quality",
    type=click.Choice(QUALITIES, case_sensitive=False),
    help="Settings for what is left out; standard is the model's own.",
)
@click.option("--fresh", is_flag=True, help="Make all anew, also what was made with that seed before.")
@_JSON
@with_settings
def batch(
    settings: Settings,
    file: BinaryIO,
    *,
    kind: str | None,
    fresh: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - click's options, by name
) -> None:
    """Make a picture for each row of a file.

    FILE has a prompt a line; a .csv file has a header with the columns prompt, width, seed and so on, a
    .jsonl file an object a line with the same names. Options are for what a row leaves out. - in place of
    FILE reads standard input.

    All rows are recorded before the first is sent: after a crash, `resume ID` makes what is missing. Rows
    that cannot be used are named by their line, and the others are made. Ctrl-C lets pictures under way end;
    twice closes at once. The exit status is 1 when a row was refused or a picture failed.
    """
    order = _BatchOrder(file, kind or format_of(_name_of(file)), options, fresh=fresh, as_json=as_json)
    run(settings, lambda state: _make(state, order))


@click.command()
@click.argument("batch_id", metavar="ID")
@_JSON
@with_settings
def resume(settings: Settings, batch_id: str, *, as_json: bool) -> None:
    """Go on with a batch that was interrupted or stopped; only what is missing is made."""
    run(settings, lambda state: _resume(state, batch_id, as_json=as_json))


@click.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True)
@_JSON
@with_settings
def batches(settings: Settings, *, limit: int, as_json: bool) -> None:
    """List the batches of the output folder, newest first."""
    run(settings, lambda state: _list(state, limit, as_json=as_json))


@click.command()
@click.argument("batch_id", metavar="ID")
@with_settings
def cancel(settings: Settings, batch_id: str) -> None:
    """Cancel a batch, also one of another process; what is done stays."""
    run(settings, lambda state: _cancel(state, batch_id))


COMMANDS = (batch, batches, resume, cancel)
"""The commands of this module."""


class _BatchOrder:
    """What was asked for at the shell, and which of its rows cannot be used."""

    def __init__(
        self, file: BinaryIO, kind: str, options: Mapping[str, Any], *, fresh: bool, as_json: bool
    ) -> None:
        self.name = _name_of(file)
        self.fresh = fresh
        self.as_json = as_json
        self.lines = array("L")
        self.refused = 0
        self._rows = rows(file, kind)  # type: ignore[arg-type]  # one of the choices
        self._seed: int | None = options["seed"]
        self._defaults = {name: value for name, value in options.items() if name != "seed"}
        self._reasons_told: set[str] = set()
        self._reasons: defaultdict[str, list[int]] = defaultdict(list)

    async def requests(self, state: State) -> AsyncIterator[ImageRequest]:
        """The rows that the loaded model can do; the others are told at the end of the file."""
        for count, row in enumerate(self._read()):
            request = None if row.refusal else self._request(row, count)
            why = row.refusal if request is None else await _refusal(state, request)
            if request is None or why is not None:
                self._refuse(row.line, why or "")
            else:
                self.lines.append(row.line)
                yield request
        self._tell_refused()

    def check_any(self) -> None:
        """Refuse a file in which there was nothing to make.

        Raises:
            UsageError: It has no rows, or is no text.
        """
        if self.refused and self._reasons_told == {NOT_UTF8}:
            raise click.UsageError(f"{self.name} is not UTF-8 text; save it as UTF-8.")
        if not self.refused:
            raise click.UsageError(f"{self.name} holds no prompt; write one on each line.")

    def _read(self) -> Iterable[Row]:
        try:
            yield from self._rows
        except UnreadableFile as error:
            raise click.UsageError(f"{self.name} cannot be used: {error}.") from error

    def _request(self, row: Row, count: int) -> ImageRequest:
        values: dict[str, Any] = {**self._defaults, **row.values}
        if self._seed is not None:
            values.setdefault("seed", self._seed + count)
        return ImageRequest(**values)

    def _refuse(self, line: int, why: str) -> None:
        self.refused += 1
        if len(self._reasons) >= _MOST_REASONS and why not in self._reasons:
            self._tell_refused()
        self._reasons[why].append(line)

    def _tell_refused(self) -> None:
        self._reasons_told |= self._reasons.keys()
        for why, lines in self._reasons.items():
            click.echo(f"{_format_lines(lines)}: {why}", err=True)
        self._reasons.clear()


async def _refusal(state: State, request: ImageRequest) -> str | None:
    """Why a row cannot be used, None for one that can; the others are made all the same."""
    try:
        await state.studio.check(request)
    except InvalidRequest as error:
        return sentence(error)
    return None


def _format_lines(lines: Sequence[int]) -> str:
    """The lines of one refusal, as a person would name them."""
    if len(lines) == 1:
        return f"line {lines[0]} refused"
    first = ", ".join(map(str, lines[:_LINES_NAMED]))
    more = f" and {len(lines) - _LINES_NAMED} more" if len(lines) > _LINES_NAMED else ""
    return f"lines {first}{more} refused"


async def _make(state: State, order: _BatchOrder) -> int:
    state.check_folder()
    requests = order.requests(state)
    first = await anext(requests, None)
    if first is None:
        order.check_any()
        return 1

    async def all_of_them() -> AsyncIterator[ImageRequest]:
        yield first
        async for request in requests:
            yield request

    made = state.studio.batch(all_of_them(), fresh=order.fresh, recorded_first=True)
    status = await BatchProgress(state, made, as_json=order.as_json, lines=order.lines).show()
    return status or (1 if order.refused else 0)


async def _resume(state: State, batch_id: str, *, as_json: bool) -> int:
    state.check_folder()
    resumed = state.studio.resume(batch_id, max_concurrent=state.settings.max_concurrent)
    return await BatchProgress(state, resumed, as_json=as_json).show()


async def _list(state: State, limit: int, *, as_json: bool) -> int:
    state.check_folder()
    found = await state.studio.batches(limit)
    for each in found:
        click.echo(json_line(_summary(each)) if as_json else _line(each))
    if not found:
        click.echo(f"There are no batches in {state.studio.output_dir}.", err=True)
    return 0


async def _cancel(state: State, batch_id: str) -> int:
    state.check_folder()
    found = await state.studio.cancel_batch(batch_id)
    click.echo(
        f"{found.id} {found.state}: {found.done} done, {found.failed} failed, {found.cancelled} cancelled"
    )
    if found.left_running:
        click.echo(on_gpu(found.left_running), err=True)
    return 0 if found.owner is None else 1


def _summary(each: BatchSummary) -> dict[str, object]:
    names = (
        "id",
        "state",
        "prompt",
        "total",
        "waiting",
        "running",
        "done",
        "failed",
        "cancelled",
        "reused",
    )
    told_of = {name: getattr(each, name) for name in names}
    cause = in_our_words(each.cause) if each.cause else None
    return {**told_of, "cause": cause, "created": each.created.isoformat()}


def _line(each: BatchSummary) -> str:
    counts = f"{each.done}/{each.total if each.total is not None else '?'}"
    failed = f", {each.failed} failed" if each.failed else ""
    prompt = one_line(each.prompt or "", limit=40)
    return f"{each.id}  {each.created:%Y-%m-%d %H:%M}  {each.state:<11} {counts}{failed}  {prompt}"


def _name_of(file: BinaryIO) -> str:
    return str(getattr(file, "name", "-"))
