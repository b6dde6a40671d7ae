import asyncio
import threading
from collections.abc import Callable

import pytest
from vllm_omni_client.simulator.engine.engine import Engine, EngineTask, TaskResult
from vllm_omni_client.simulator.engine.model_rules import WorkerError, rules_for

MEGAPIXEL = 1024 * 1024


def engine(*, capacity: int = 1, speed: float = 0.0, gpu_gib: float | None = None) -> Engine[str]:
    return Engine(rules=rules_for("qwen-image"), capacity=capacity, speed=speed, gpu_gib=gpu_gib)


def task(
    produce: Callable[[], str], *, seconds: float = 0.0, batch_key: str = "", pixels: int = MEGAPIXEL
) -> EngineTask[str]:
    return EngineTask(pixels=pixels, seconds=seconds, batch_key=batch_key, produce=produce)


class Gate:
    """A task that reports when it has started, and ends when it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def produce(self) -> str:
        self.begun.set()
        assert self.open.wait(20)
        return "gated"

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 20)


async def test_tasks_run_in_order_of_arrival_and_never_two_at_once() -> None:
    machine, order, at_once = engine(), list[int](), list[int]()
    lock = threading.Lock()

    def numbered(number: int) -> Callable[[], str]:
        def produce() -> str:
            at_once.append(int(lock.acquire(blocking=False)))
            order.append(number)
            lock.release()
            return str(number)

        return produce

    async with asyncio.timeout(20):
        done = await asyncio.gather(*(machine.run(task(numbered(number))) for number in range(10)))
    assert [finished.value for finished in done] == [str(number) for number in range(10)]
    assert (order, at_once) == (list(range(10)), [1] * 10)


async def test_the_second_of_two_waits_for_the_first() -> None:
    machine = engine(speed=1.0)
    async with asyncio.timeout(20):
        first, second = await asyncio.gather(
            *(machine.run(task(lambda: "done", seconds=0.2)) for _ in range(2))
        )
    assert first.run_seconds >= 0.19
    assert second.queue_seconds >= 0.19
    assert second.generation_seconds >= 0.38


async def test_speed_scales_the_time() -> None:
    machine = engine(speed=0.01)
    async with asyncio.timeout(20):
        finished = await machine.run(task(lambda: "done", seconds=20.0))
    assert 0.19 <= finished.run_seconds < 10


async def test_a_task_cancelled_in_the_queue_never_runs() -> None:
    machine, gate, done = engine(), Gate(), list[str]()
    async with asyncio.timeout(20):
        first = asyncio.create_task(machine.run(task(gate.produce)))
        await gate.until_begun()
        second = asyncio.create_task(machine.run(task(lambda: done.append("second") or "second")))
        third = asyncio.create_task(machine.run(task(lambda: done.append("third") or "third")))
        await asyncio.sleep(0)
        assert (machine.running, machine.waiting) == (1, 2)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert machine.waiting == 1
        gate.open.set()
        await asyncio.gather(first, third)
    assert (done, machine.running, machine.waiting) == (["third"], 0, 0)


async def test_a_running_task_runs_to_its_end_even_if_cancelled() -> None:
    machine, gate = engine(), Gate()
    async with asyncio.timeout(20):
        running = asyncio.create_task(machine.run(task(gate.produce)))
        await gate.until_begun()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert machine.running == 1
        after = asyncio.create_task(machine.run(task(lambda: "after")))
        await asyncio.sleep(0)
        assert machine.waiting == 1
        gate.open.set()
        assert (await after).value == "after"


async def test_a_task_that_does_not_fit_into_memory_fails_alone() -> None:
    machine = engine(gpu_gib=60.0)  # the model's 53.7 and images of 3.15 megapixels
    async with asyncio.timeout(20):
        with pytest.raises(WorkerError) as caught:
            await machine.run(task(lambda: "never", pixels=4 * MEGAPIXEL))
        finished = await machine.run(task(lambda: "done", pixels=3 * MEGAPIXEL))
    assert str(caught.value).startswith(
        "CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 60.00 GiB of which "
        "6.30 GiB is free."
    )
    assert finished.value == "done"
    assert finished.peak_memory_mib == pytest.approx((53.7 + 6.0) * 1024)


async def test_a_failing_task_fails_alone() -> None:
    def broken() -> str:
        raise RuntimeError("broken")

    machine = engine()
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(
            machine.run(task(broken)), machine.run(task(lambda: "done")), return_exceptions=True
        )
    assert isinstance(outcomes[0], RuntimeError)
    assert isinstance(outcomes[1], TaskResult)


async def test_equal_requests_run_in_one_batch_if_there_is_room() -> None:
    machine, gate = engine(capacity=2), Gate()
    async with asyncio.timeout(20):
        first = asyncio.create_task(machine.run(task(gate.produce, batch_key="a")))
        await gate.until_begun()
        others = [asyncio.create_task(machine.run(task(lambda: "done", batch_key=wave))) for wave in "abaa"]
        await asyncio.sleep(0)
        gate.open.set()
        await first
        second, third, fourth, fifth = await asyncio.gather(*others)
    assert second.peak_memory_mib == fourth.peak_memory_mib == pytest.approx((53.7 + 4.0) * 1024)
    assert third.peak_memory_mib == fifth.peak_memory_mib == pytest.approx((53.7 + 2.0) * 1024)


def test_an_engine_survives_the_event_loop_that_it_ran_on() -> None:
    machine, gate = engine(), Gate()

    async def abandon() -> None:
        call = asyncio.create_task(machine.run(task(gate.produce)))
        await gate.until_begun()
        call.cancel()
        gate.open.set()

    asyncio.run(abandon())
    assert asyncio.run(machine.run(task(lambda: "again"))).value == "again"
