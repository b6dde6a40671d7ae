"""Signals reach the event loop on every system."""

import asyncio
import importlib.util
import signal
import sys
from collections.abc import Callable

import pytest
from vllm_image_mcp import shutdown
from vllm_image_mcp.shutdown import handle_signals

OTHER: signal.Signals = getattr(signal, "SIGUSR1", signal.SIGTERM)


def without_handlers(*_: object) -> None:
    """As the event loops of Windows do."""
    raise NotImplementedError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("emulated", [True, False])
def test_signals_are_received_on_the_loop_and_the_old_handlers_are_restored(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, *, emulated: bool
) -> None:
    received: list[tuple[int, object]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        if emulated:
            monkeypatch.setattr(loop, "add_signal_handler", without_handlers)
        arrived = asyncio.Event()

        def receive(which: int) -> None:
            received.append((which, asyncio.get_running_loop()))
            arrived.set()

        before = signal.getsignal(number)
        with handle_signals(receive):
            signal.raise_signal(number)
            assert received == []  # the loop calls it, and wakes up for it
            await asyncio.wait_for(arrived.wait(), 10)
        assert received == [(int(number), loop)]
        if emulated:
            assert signal.getsignal(number) == before

    asyncio.run(run())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has that signal itself")
def test_ctrl_break_and_a_closed_console_are_signals_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "SIGBREAK", OTHER, raising=False)  # emulated: only Windows has it
    spec = importlib.util.spec_from_file_location("shutdown_on_windows", shutdown.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    before = signal.signal(OTHER, signal.SIG_IGN)

    async def run() -> int:
        received: asyncio.Queue[int] = asyncio.Queue()
        with module.handle_signals(received.put_nowait):
            signal.raise_signal(OTHER)
            return await asyncio.wait_for(received.get(), 10)

    try:
        assert asyncio.run(run()) == OTHER
    finally:
        signal.signal(OTHER, before)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    async def run() -> None:
        with handle_signals(lambda _: None):
            pass

    def in_thread(main: Callable[[], None]) -> None:
        main()

    async def both() -> None:
        await asyncio.to_thread(in_thread, lambda: asyncio.run(run()))

    before = signal.getsignal(signal.SIGTERM)
    asyncio.run(both())
    assert signal.getsignal(signal.SIGTERM) == before
