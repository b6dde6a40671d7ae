"""Waiting for what is away, and being alone."""

import asyncio

import pytest
from vllm_image_core.batches.gates import OutageGate, SharedExclusiveGate, StillWaiting

DEADLINE_SECONDS = 20


class Thing:
    """Something that is away until a test brings it back."""

    def __init__(self, *, outage_seconds: float = 600.0) -> None:
        self.well = False
        self.probes: list[float] = []
        self.told: list[str | None] = []
        self.given_up = asyncio.Event()
        self.gate = OutageGate(
            self.probe,
            interval_seconds=0.02,
            outage_seconds=outage_seconds,
            on_change=self.told.append,
            on_give_up=lambda _reason: self.given_up.set(),
        )

    async def probe(self) -> bool:
        self.probes.append(asyncio.get_running_loop().time())
        return self.well


async def test_all_pass_while_it_is_well() -> None:
    thing = Thing()
    async with asyncio.timeout(DEADLINE_SECONDS):
        for _ in range(3):
            await thing.gate.enter()
    assert (thing.probes, thing.told) == ([], [])


async def test_one_is_let_through_as_a_trial_and_all_others_when_that_goes_well() -> None:
    thing, passed = Thing(), list[int]()

    async def go(number: int) -> None:
        await thing.gate.enter()
        passed.append(number)

    async with asyncio.timeout(DEADLINE_SECONDS):
        thing.gate.record_failure("away")
        waiting = [asyncio.create_task(go(number)) for number in range(3)]
        while len(thing.probes) < 3:  # noqa: ASYNC110 - nothing tells of a probe but the count
            await asyncio.sleep(0)
        assert passed == []
        thing.well = True
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert len(passed) == 1
        thing.gate.record_success()
        await asyncio.wait(waiting)
    assert sorted(passed) == [0, 1, 2]
    assert thing.told == ["away", None]


async def test_it_is_probed_no_more_often_than_it_may_be() -> None:
    thing = Thing()
    async with asyncio.timeout(DEADLINE_SECONDS):
        thing.gate.record_failure("away")
        while len(thing.probes) < 5:  # noqa: ASYNC110 - nothing tells of a probe but the count
            await asyncio.sleep(0)
        thing.gate.close()
    gaps = [later - earlier for earlier, later in zip(thing.probes, thing.probes[1:], strict=False)]
    assert min(gaps) >= 0.02 - 0.001


async def test_after_too_long_it_is_given_up_and_who_waits_is_left_waiting() -> None:
    thing = Thing(outage_seconds=0.05)
    async with asyncio.timeout(DEADLINE_SECONDS):
        thing.gate.record_failure("away")
        waiting = asyncio.create_task(thing.gate.enter())
        await thing.given_up.wait()
        thing.gate.close()
        with pytest.raises(StillWaiting):
            await waiting
        assert not await thing.gate.wait_until_available()


async def test_who_waits_for_the_thing_alone_goes_on_as_soon_as_it_is_back() -> None:
    thing = Thing()
    async with asyncio.timeout(DEADLINE_SECONDS):
        thing.gate.record_failure("away")
        waiting = asyncio.create_task(thing.gate.wait_until_available())
        thing.well = True
        assert await waiting
    assert thing.gate.is_available


async def test_one_who_is_alone_waits_for_the_others_and_they_for_him() -> None:
    turnstile, order = SharedExclusiveGate(), list[str]()

    async def alone() -> None:
        await turnstile.enter(alone=True)
        order.append("alone")

    async def beside(name: str) -> None:
        await turnstile.enter(alone=False)
        order.append(name)

    async with asyncio.timeout(DEADLINE_SECONDS):
        await beside("first")
        await beside("second")
        suspect = asyncio.create_task(alone())
        await asyncio.sleep(0)
        late = asyncio.create_task(beside("late"))
        await asyncio.sleep(0)
        turnstile.leave()
        await asyncio.sleep(0)
        assert order == ["first", "second"]
        turnstile.leave()
        await suspect
        assert not late.done()
        turnstile.leave()
        await late
    assert order == ["first", "second", "alone", "late"]
