import asyncio
import threading

import pytest
from vllm_image_core.testing.virtual_time import VirtualDeadlock, run


def test_five_minutes_pass_at_once_and_in_order() -> None:
    seen: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(wait("late", 300.0), wait("early", 0.5), wait("between", 10.0))

    run(main())

    assert seen == [("early", 0.5), ("between", 10.0), ("late", 300.0)]


def test_a_working_thread_is_waited_for_while_the_clock_stands_still() -> None:
    async def main() -> tuple[bool, float]:
        other = await asyncio.to_thread(lambda: threading.current_thread() is not threading.main_thread())
        return other, asyncio.get_running_loop().time()

    assert run(main()) == (True, 0.0)


def test_a_thread_of_its_own_is_waited_for_on_request() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        began, answered = threading.Event(), asyncio.Event()

        def answer() -> None:
            began.wait(10)
            loop.call_soon_threadsafe(answered.set)

        threading.Thread(target=answer, daemon=True).start()
        loop.call_soon(began.set)
        async with asyncio.timeout(300):
            await answered.wait()
        return loop.time()

    assert run(main(), thread_seconds=10.0) == 0.0


def test_a_deadlock_of_tasks_is_reported_and_not_waited_for() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(VirtualDeadlock):
        run(main())
