"""The `dataset` command: generate an image for each row of large files, here, on Daft or on a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import GroupedOptions, with_settings
from vllm_image_mcp.startup import report_errors
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_core.datasets.dataset import Engine
    from vllm_image_core.datasets.image_generator import GeneratorSettings
    from vllm_image_core.datasets.progress import DatasetProgress

    from vllm_image_mcp.settings import Settings

_INTERRUPTED: Final = 130
_COUNTS: Final = ("total", "done", "reused", "skipped", "failed", "seconds")


def _store_option(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    if not all("=" in each for each in given):
        raise click.BadParameter("Write NAME=VALUE, such as aws_region=eu-central-1.")
    pairs = (each.partition("=") for each in given)
    return {name: value for name, _, value in pairs}


@click.command(cls=GroupedOptions)
@click.argument("source", metavar="SOURCE")
@click.option("--out", metavar="DIR", help="A folder, or s3://, gs:// or az://. Default: the output folder.")
@click.option(
    "--engine",
    type=click.Choice(("local", "daft", "ray")),
    default="local",
    show_default=True,
    help="What runs the rows: this process, Daft or Ray Data.",
)
@click.option("--address", metavar="HOST:PORT", help="The Ray cluster. Default: Ray is started here.")
@click.option("--max-in-flight", type=click.IntRange(1), metavar="N", help="Requests at once, in all.")
@click.option(
    "--store-option",
    "store_options",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_store_option,
    help="An option of the bucket, such as aws_endpoint=http://minio:9000.",
)
@shared_options.as_json
@with_settings
def dataset(
    settings: Settings,
    source: str,
    *,
    out: str | None,
    engine: Engine,
    address: str | None,
    max_in_flight: int | None,
    store_options: dict[str, str],
    as_json: bool,
) -> None:
    """Generate an image for each row of large files, here or on a cluster.

    SOURCE is a .parquet, .csv or .jsonl file, or a folder of .parquet files. The columns are prompt, width,
    seed and so on; the column copy numbers several images of one prompt. Images go to DIR/images, and a
    Parquet row about each to DIR/rows.

    After an interruption, run it again, with any engine: finished images are not generated again, and rows
    that failed are tried again. The exit status is 1 if a row failed.
    """
    from vllm_image_core.datasets.dataset import generate_dataset  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.studio_factory import dataset_servers, dataset_settings  # noqa: PLC0415 - likewise

    def show(progress: DatasetProgress) -> None:
        echo(str(progress), err=True)

    registry = State(settings, at_shell=True).registry
    given: GeneratorSettings = {
        **dataset_settings(settings, registry),
        "max_in_flight": max_in_flight,
        "store_options": store_options,
    }
    with report_errors():
        try:
            run = generate_dataset(
                source,
                out or settings.output_dir,
                servers=dataset_servers(settings),
                engine=engine,
                address=address,
                on_progress=show,
                **given,
            )
        except KeyboardInterrupt:
            raise SystemExit(_INTERRUPTED) from None
    counts = {name: getattr(run.progress, name) for name in _COUNTS}
    echo(json_line({"id": run.id, "out": run.out, "engine": run.engine, **counts}) if as_json else str(run))
    if run.progress.failed:
        raise SystemExit(1)
