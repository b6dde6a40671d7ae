import asyncio

import pytest
from vllm_omni_client.simulator.engine.state import ServerState, SleepRequest, WakeupRequest
from vllm_omni_client.simulator.http.http_error import HttpError

STAGE = WakeupRequest(stage_ids=[0])


@pytest.fixture
def condition() -> ServerState:
    return ServerState(("model",), resident_gib=15.0)


async def test_nobody_waits_for_a_server_that_is_awake(condition: ServerState) -> None:
    async with asyncio.timeout(5):
        await condition.until_awake()


async def test_who_waits_goes_on_when_it_wakes(condition: ServerState) -> None:
    condition.sleep(SleepRequest(stage_ids=[0], level=1))
    waiting = asyncio.create_task(condition.until_awake())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert condition.wake_up(STAGE)["status"] == "SUCCESS"
    async with asyncio.timeout(5):
        await waiting


def test_weights_that_were_thrown_away_do_not_come_back(condition: ServerState) -> None:
    condition.sleep(SleepRequest(stage_ids=[0]))
    for _ in range(2):
        with pytest.raises(HttpError) as caught:
            condition.wake_up(STAGE)
        assert (caught.value.status, caught.value.kind) == (501, "NotImplementedError")


async def test_a_stage_that_there_is_not_is_refused_and_stops_admission_all_the_same(
    condition: ServerState,
) -> None:
    with pytest.raises(HttpError, match=r"Invalid stage_ids \[9\]; valid range is 0\.\.0"):
        condition.sleep(SleepRequest(stage_ids=[9], level=1))
    assert condition.wake_up(STAGE)["status"] == "SKIPPED"
    waiting = asyncio.create_task(condition.until_awake())
    await asyncio.sleep(0)
    assert not waiting.done()
    condition.sleep(SleepRequest(stage_ids=[0], level=1))
    condition.wake_up(STAGE)
    async with asyncio.timeout(5):
        await waiting


def test_one_server_may_sleep_in_one_event_loop_and_wake_in_another(condition: ServerState) -> None:
    async def nap() -> None:
        condition.sleep(SleepRequest(stage_ids=[0], level=1))
        waiting = asyncio.create_task(condition.until_awake())
        await asyncio.sleep(0)
        condition.wake_up(STAGE)
        await waiting

    for _ in range(2):
        asyncio.run(nap())
