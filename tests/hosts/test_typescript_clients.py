"""Every tool through the TypeScript clients of both generations, which most hosts have inside."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Node, Recorded

HERE = Path(__file__).parent
CLIENTS = [
    pytest.param(("first_client.mjs", ""), "2025-11-25", id="first generation"),
    pytest.param(("second_client.mjs", "legacy"), "2025-11-25", id="second generation, with the handshake"),
    pytest.param(("second_client.mjs", "auto"), "2026-07-28", id="second generation, without it"),
]


@pytest.mark.parametrize(("client", "version"), CLIENTS)
def test_every_tool_is_called_and_every_result_taken(
    node: "Node",
    server: "Recorded",
    calls: Sequence[Mapping[str, Any]],
    client: tuple[str, str],
    version: str,
) -> None:
    script, era = client
    told = json.loads(node.run(script, *server.command, env={"ERA": era, "CALLS": str(HERE / "calls.json")}))

    assert sorted(told["tools"]) == sorted({call["tool"] for call in calls})
    results = [(each["tool"], each["result"].get("isError", False)) for each in told["results"]]
    assert results == [(call["tool"], call.get("fails", False)) for call in calls], told["results"]
    assert server.faults() == []
    assert server.versions() == {version}
