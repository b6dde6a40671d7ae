"""The `doctor` command: check everything that an image needs, and say how to fix what is wrong."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Final

import click
from vllm_image_core.text import one_line

from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import GivenOptions, GroupedOptions, with_options
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_mcp.doctor.examination import Report
    from vllm_image_mcp.doctor.finding import Finding
    from vllm_image_mcp.doctor.setting_checks import SettingInUse

_LONGEST_LINE: Final = 500


@click.command(cls=GroupedOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option("--image/--no-image", default=True, help="Generate one image in one step.  [on]")
@partial(with_options, serves_mcp=True)
def doctor(given: GivenOptions, *, as_json: bool, image: bool) -> None:
    """Check everything that an image needs, and show how to fix what is wrong.

    The exit status is 1 if no image can be generated or saved.
    """
    report = asyncio.run(_examine(given, with_image=image))
    if as_json:
        echo(
            json_line(
                {
                    "healthy": report.is_healthy,
                    "checks": [asdict(each) for each in report.findings],
                    "settings": [asdict(each) for each in report.settings],
                }
            )
        )
    else:
        _print(report)
    if not report.is_healthy:
        raise SystemExit(1)


async def _examine(given: GivenOptions, *, with_image: bool) -> Report:
    from pydantic import ValidationError  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.doctor.examination import examine, report_problems  # noqa: PLC0415 - likewise

    try:
        settings = given.model.from_arguments(**given.values)
    except ValidationError as error:
        return report_problems(given.problems(error))
    state = State(settings, at_shell=True)
    return await examine(state, given.sources(), with_image=with_image)


def _print(report: Report) -> None:
    if report.settings:
        echo("Settings")
        for setting in report.settings:
            echo(_setting_line(setting))
    echo("Checks")
    for finding in report.findings:
        echo(_check_lines(finding))
    count = sum(each.status == "failed" for each in report.findings)
    echo(f"{count} of these must be fixed." if count else "Images can be generated and saved.")


def _setting_line(setting: SettingInUse) -> str:
    name, value = setting.option.removeprefix("--"), one_line(setting.value, limit=_LONGEST_LINE)
    return f"  {name:<20} {value}  ({one_line(setting.source, limit=_LONGEST_LINE)})"


def _check_lines(finding: Finding) -> str:
    subject = "" if finding.subject in finding.detail else f"{finding.subject}: "
    line = (
        f"  {finding.status:<8} {finding.check:<13} {one_line(subject + finding.detail, limit=_LONGEST_LINE)}"
    )
    return f"{line}\n{'':>24} Fix: {finding.fix}" if finding.fix else line
