import asyncio

import pytest
from vllm_omni_client.simulator.engine.state import EngineState, SleepRequest, WakeupRequest
from vllm_omni_client.simulator.http.http_error import HttpError

STAGE = WakeupRequest(stage_ids=[0])


@pytest.fixture
def engine_state() -> EngineState:
    return EngineState(("model",), resident_gib=15.0)


async def test_nobody_waits_for_a_server_that_is_awake(engine_state: EngineState) -> None:
    async with asyncio.timeout(5):
        await engine_state.until_awake()


async def test_a_waiting_request_continues_when_the_server_wakes(engine_state: EngineState) -> None:
    engine_state.sleep(SleepRequest(stage_ids=[0], level=1))
    waiting = asyncio.create_task(engine_state.until_awake())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert engine_state.wake_up(STAGE)["status"] == "SUCCESS"
    async with asyncio.timeout(5):
        await waiting


def test_discarded_weights_do_not_come_back(engine_state: EngineState) -> None:
    engine_state.sleep(SleepRequest(stage_ids=[0]))
    for _ in range(2):
        with pytest.raises(HttpError) as caught:
            engine_state.wake_up(STAGE)
        assert (caught.value.status, caught.value.kind) == (501, "NotImplementedError")


async def test_an_unknown_stage_is_refused_and_still_stops_admission(
    engine_state: EngineState,
) -> None:
    with pytest.raises(HttpError, match=r"Invalid stage_ids \[9\]; valid range is 0\.\.0"):
        engine_state.sleep(SleepRequest(stage_ids=[9], level=1))
    assert engine_state.wake_up(STAGE)["status"] == "SKIPPED"
    waiting = asyncio.create_task(engine_state.until_awake())
    await asyncio.sleep(0)
    assert not waiting.done()
    engine_state.sleep(SleepRequest(stage_ids=[0], level=1))
    engine_state.wake_up(STAGE)
    async with asyncio.timeout(5):
        await waiting


def test_one_server_may_sleep_in_one_event_loop_and_wake_in_another(engine_state: EngineState) -> None:
    async def nap() -> None:
        engine_state.sleep(SleepRequest(stage_ids=[0], level=1))
        waiting = asyncio.create_task(engine_state.until_awake())
        await asyncio.sleep(0)
        engine_state.wake_up(STAGE)
        await waiting

    for _ in range(2):
        asyncio.run(nap())
