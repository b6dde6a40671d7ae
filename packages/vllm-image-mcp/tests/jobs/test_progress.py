"""The progress messages of a call: what they say, and who gets them."""

from types import SimpleNamespace
from typing import cast

import pytest
from mcp.server.mcpserver import Context
from vllm_image_core.batches.item_states import Progress
from vllm_image_core.estimation.backlog import Eta
from vllm_image_mcp.jobs.batch_monitor import BatchMonitor
from vllm_image_mcp.jobs.progress import ProgressReporter, duration
from vllm_image_mcp.state import State


class Heard:
    """A call whose progress is recorded, on a batch with given counts."""

    def __init__(self, eta: Eta, *, others: int | None = None) -> None:
        self.messages: list[str] = []
        counted = Progress(total=8, waiting=4, running=1, done=3, failed=0, cancelled=0)
        batch = SimpleNamespace(id="batch_1", progress=counted, eta=eta, cause=None)
        self.monitor = cast("BatchMonitor", SimpleNamespace(batch=batch, ended_count=3, over=False))
        self._others = others

    async def requests_of_others(self) -> int | None:
        return self._others

    async def report_progress(self, progress: float, total: float | None, message: str) -> None:
        del progress, total
        self.messages.append(message)

    def reports(self, *, wait: float, token: bool = True, wired: bool = True) -> ProgressReporter:
        state = SimpleNamespace(studio=self, is_remote=wired)
        request = SimpleNamespace(lifespan_context=state, meta={"progress_token": 1} if token else None)
        told_to = SimpleNamespace(request_context=request, report_progress=self.report_progress)
        return ProgressReporter(cast("Context[State]", told_to), self.monitor, wait=wait)


MEASURED = Eta(seconds=40.0, basis="23 pictures on this server, off by 5 % on the last 20", measured=True)


async def test_a_message_shows_the_time_left_and_the_requests_ahead() -> None:
    call = Heard(MEASURED, others=2)
    reports = call.reports(wait=45)
    await reports.report_start()
    await reports.report_change()
    expected = "batch_1: 3 of 8, about 40 s left (measured), 2 requests from others ahead"
    assert call.messages == [expected, expected]


@pytest.mark.parametrize(("wired", "heard"), [(True, 0), (False, 2)])
async def test_without_a_token_only_a_client_in_this_process_gets_progress(
    wired: bool,  # noqa: FBT001 - given by its name
    heard: int,
) -> None:
    call = Heard(MEASURED)
    reports = call.reports(wait=45, token=False, wired=wired)
    await reports.report_start()
    await reports.report_change()
    assert call.messages == ["batch_1: 3 of 8, about 40 s left (measured)"] * heard


async def test_an_overdue_image_is_not_said_to_be_nearly_done() -> None:
    call = Heard(Eta(seconds=0.0, basis="nothing measured yet: from the profile, may be off by half"))
    await call.reports(wait=45).report_start()
    assert call.messages == ["batch_1: 3 of 8, longer than predicted"]


async def test_the_first_message_says_if_it_will_take_longer_than_the_call_waits() -> None:
    call = Heard(MEASURED)
    await call.reports(wait=20).report_start()
    about = "batch_1: 3 of 8, about 40 s left (measured)"
    assert call.messages == [f"{about}. This call returns within 20 s; get_batch waits for the rest"]


async def test_an_unmeasured_time_says_so_and_an_unknown_one_is_omitted() -> None:
    guess = Heard(Eta(seconds=40.0, basis="nothing measured yet: from the profile, may be off by half"))
    await guess.reports(wait=45).report_start()
    unknown = Heard(Eta(seconds=None, basis="how many pictures will come is not known"))
    await unknown.reports(wait=1).report_start()
    assert [*guess.messages, *unknown.messages] == [
        "batch_1: 3 of 8, about 40 s left (from the profile, may be off by half)",
        "batch_1: 3 of 8",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (40, "40 s"), (89, "89 s"), (90, "2 min"), (3_000, "50 min"), (9_000, "2.5 h")],
)
def test_a_time_is_written_as_a_person_would_say_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words
