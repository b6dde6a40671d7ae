"""The official Inspector's command line, strict, in both protocol eras: no error, and one remark.

It would rather have a null in the results as `anyof`, which costs each host's model 300 tokens more.
"""

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Node, Recorded

INSPECTOR = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
ERAS = [("legacy", "2025-11-25"), ("modern", "2026-07-28")]
FOX = {"prompt": "a red fox in the snow", "width": 128, "height": 96, "seed": 7}


@pytest.mark.parametrize(("era", "version"), ERAS)
def test_the_tools_are_listed_without_findings(
    node: "Node", server: "Recorded", era: str, version: str
) -> None:
    done = node.tried(
        INSPECTOR, "--cli", "--protocol-era", era, *server.command, "--method", "tools/list", "--strict"
    )

    assert done.returncode == 0, done.stderr
    assert findings(done.stderr) <= {"outputSchema: `type` is an array"}
    assert len(json.loads(done.stdout)["tools"]) >= 8
    assert server.faults() == []
    assert server.versions() == {version}


def findings(report: str) -> set[str]:
    """What the Inspector remarks, and in which schema."""
    paths = re.findall(r"path: (\w+)", report, re.IGNORECASE)
    issues = re.findall(r"issue: ([^(.]*[^(. ])", report, re.IGNORECASE)
    return {f"{path}: {issue}" for path, issue in zip(paths, issues, strict=True)}


@pytest.mark.parametrize(("era", "version"), ERAS)
def test_an_image_is_made_and_its_result_fits_the_schema(
    node: "Node", server: "Recorded", era: str, version: str
) -> None:
    call = ("--method", "tools/call", "--tool-name", "generate_image", "--tool-args-json", json.dumps(FOX))
    done = node.tried(INSPECTOR, "--cli", "--protocol-era", era, *server.command, *call)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["structuredContent"]["parameters_used"]["seed"] == 7
    assert server.faults() == []
    assert server.versions() == {version}
