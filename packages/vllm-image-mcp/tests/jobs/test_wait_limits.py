"""How long a call may wait: as asked, as configured, or as its host is known to allow."""

import asyncio
import time
from types import SimpleNamespace
from typing import cast

import pytest
from mcp.server.mcpserver import Context
from vllm_image_core.errors import InvalidRequest
from vllm_image_mcp.jobs.wait_limits import Arrival, answer_deadline, wait_seconds
from vllm_image_mcp.state import State


def context(
    *, client: str | None, progress: bool, max_wait: float | None = None, arrival: Arrival | None = None
) -> Context[State]:
    state = SimpleNamespace(settings=SimpleNamespace(max_wait=max_wait))
    meta = {"progress_token": 1} if progress else {}
    info = None if client is None else SimpleNamespace(client_info=SimpleNamespace(name=client))
    return cast(
        "Context[State]",
        SimpleNamespace(
            request_context=SimpleNamespace(lifespan_context=state, meta=meta, request=arrival),
            session=SimpleNamespace(client_params=info),
        ),
    )


async def test_a_wait_counts_from_the_arrival_of_its_call() -> None:
    late = context(client=None, progress=False, arrival=Arrival(time.monotonic() - 3))
    now = context(client=None, progress=False)
    clock = asyncio.get_running_loop().time()
    assert answer_deadline(late, 5) == pytest.approx(clock + 2, abs=0.5)
    assert answer_deadline(late, 1) < clock
    assert answer_deadline(now, 5) == pytest.approx(clock + 5, abs=0.5)


@pytest.mark.parametrize(
    ("client", "progress", "seconds"),
    [
        (None, True, 45),
        ("claude-ai", True, 45),
        ("claude-code", False, 45),
        ("claude-code", True, 600),
    ],
)
def test_a_call_waits_as_long_as_its_host_is_known_to_allow(
    client: str | None,
    progress: bool,  # noqa: FBT001 - given by its name
    seconds: float,
) -> None:
    assert wait_seconds(context(client=client, progress=progress), None) == seconds


def test_the_requested_wait_overrides_the_option_which_overrides_the_host() -> None:
    set_so = context(client="claude-code", progress=True, max_wait=20)
    assert (wait_seconds(set_so, None), wait_seconds(set_so, 5), wait_seconds(set_so, 0)) == (20, 5, 0)


@pytest.mark.parametrize("asked", [-1, 86_401, float("nan"), float("inf"), True, "5", [5]])
def test_anything_but_a_wait_is_refused(asked: object) -> None:
    with pytest.raises(InvalidRequest, match="max_wait"):
        wait_seconds(context(client=None, progress=False), asked)
