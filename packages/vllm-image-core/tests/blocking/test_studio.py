"""A studio without `await`: the same methods, in scripts, at the prompt and inside a running event loop."""

import asyncio
import gc
import inspect
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import requests
from vllm_image_core import BlockingBatch, BlockingStudio, Failed, ImageBatch, InvalidRequest, Studio
from vllm_image_core.blocking.loop_thread import LoopThread
from vllm_omni_client.errors import BadReply

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


@pytest.fixture
def studio(batch_server: "BatchServer", tmp_path: Path) -> Generator[BlockingStudio]:
    with BlockingStudio(batch_server, output_dir=tmp_path) as studio:
        yield studio


def public_names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_it_has_the_methods_of_a_studio_and_closes_without_await() -> None:
    assert public_names(BlockingStudio) == (public_names(Studio) - {"aclose"} | {"close"})
    assert public_names(BlockingBatch) == public_names(ImageBatch)


@pytest.mark.parametrize(("kind", "source"), [(BlockingStudio, Studio), (BlockingBatch, ImageBatch)])
def test_each_method_has_the_parameters_and_help_of_its_source(kind: type, source: type) -> None:
    own = {"draw_grid", "results", "events", "close", "id"}
    for name in public_names(kind) - own:
        derived, given = getattr(kind, name, None), getattr(source, name)
        if inspect.isfunction(given):
            assert inspect.signature(derived) == inspect.signature(given)  # type: ignore[arg-type]
            assert inspect.getdoc(derived) == inspect.getdoc(given)
    assert inspect.signature(BlockingStudio) == inspect.signature(Studio)


def test_a_script_generates_finds_and_recalls_images(studio: BlockingStudio, tmp_path: Path) -> None:
    image = studio.generate("a red fox", width=64, height=64, seed=7)
    assert image.path.parent == studio.output_dir == tmp_path
    assert [found.seed for found in studio.find("fox").pictures] == [7]
    assert studio.recall(image.path).request.prompt == "a red fox"
    assert studio.health().status == "healthy"
    assert "Studio on http://gpu:6655" in str(studio)


async def test_it_works_inside_a_running_event_loop(studio: BlockingStudio) -> None:
    assert studio.generate("a red fox", width=64, height=64).picture.width == 64
    assert [outcome.index for outcome in studio.batch(requests(3)).results()] == [0, 1, 2]


def test_errors_are_those_of_the_studio(studio: BlockingStudio, batch_server: "BatchServer") -> None:
    with pytest.raises(InvalidRequest, match="width"):
        studio.generate("a red fox", width=3)
    batch_server.fails = lambda _prompt, _times: BadReply("junk")
    with pytest.raises(BadReply, match="junk"):
        studio.generate("a red fox")
    with pytest.raises(InvalidRequest, match="home folder"):
        BlockingStudio(batch_server, output_dir="~nobody-has-this-name/images")


def test_a_batch_starts_immediately_and_is_read_in_a_plain_loop(
    studio: BlockingStudio, batch_server: "BatchServer"
) -> None:
    batch_server.fails = lambda prompt, _times: BadReply("junk") if prompt == "fox 1" else None
    batch = studio.batch(requests(3))
    outcomes = {outcome.index: outcome for outcome in batch}
    assert isinstance(outcomes[1], Failed)
    assert sorted(outcomes) == [0, 1, 2]
    assert batch.wait()
    assert (batch.progress.done, batch.progress.failed, batch.over) == (2, 1, True)
    assert sorted(batch.images) == [0, 2]
    assert f"{batch.id}: over, 2 of 3 done, 1 failed" in str(batch)
    assert studio.find_batch(batch.id).failed == 1


def test_leaving_a_block_cancels_what_is_still_running(
    studio: BlockingStudio, batch_server: "BatchServer"
) -> None:
    batch_server.gate.clear()
    with studio.batch(requests(5)) as batch:
        assert not batch.wait(0.01)
    assert batch.cancelled


@pytest.fixture
def interrupts() -> Generator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, which a test run in parallel processes ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_when(ready: Callable[[], bool]) -> threading.Thread:
    """Interrupt the main thread as Ctrl-C does, once something is ready and it waits for the studio."""
    import _thread  # noqa: PLC0415 - what it does is what is tested

    main_thread = threading.get_ident()

    def waits() -> bool:
        stack = traceback.extract_stack(sys._current_frames()[main_thread])
        return any(frame.name == LoopThread.wait_for.__name__ for frame in stack)

    def interrupt() -> None:
        until = time.monotonic() + DEADLINE_SECONDS
        while not (ready() and waits()) and time.monotonic() < until:
            time.sleep(0.01)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_ends_the_wait_but_not_the_batch(
    studio: BlockingStudio, batch_server: "BatchServer"
) -> None:
    batch_server.gate.clear()
    batch = studio.batch(requests(2))
    thread = interrupt_when(lambda: bool(batch_server.sent))
    with pytest.raises(KeyboardInterrupt) as caught:
        batch.wait(DEADLINE_SECONDS)
    thread.join()
    lines = caught.value.__dict__["_render_traceback_"]()
    assert f"you no longer wait for {batch.id}." in lines[0]
    assert "It continues in the background" in lines[1]
    assert "Stop it: batch.cancel()." in lines[2]
    assert "await" not in str(batch)
    assert not batch.over
    studio._loop.call(batch_server.gate.set)
    assert batch.wait()
    assert batch.progress.done == 2


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_cancels_a_single_image(studio: BlockingStudio, batch_server: "BatchServer") -> None:
    batch_server.gate.clear()
    thread = interrupt_when(lambda: bool(batch_server.sent))
    with pytest.raises(KeyboardInterrupt) as caught:
        studio.generate("a red fox")
    thread.join()
    assert caught.value.__dict__["_render_traceback_"]()[0].startswith(
        "Interrupted: the image was cancelled."
    )
    assert batch_server.at_once == 0


def test_a_closed_studio_says_so_and_can_be_closed_again(studio: BlockingStudio) -> None:
    studio.close()
    studio.close()
    with pytest.raises(RuntimeError, match="closed"):
        studio.generate("a red fox")


def test_a_studio_without_references_is_closed_and_its_batch_can_be_resumed(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    studio = BlockingStudio(batch_server, output_dir=tmp_path)
    batch = studio.batch(requests(2))
    name, thread = batch.id, studio._loop._thread
    del studio, batch
    gc.collect()
    assert not thread.is_alive()
    asyncio.run(_open(batch_server))
    with BlockingStudio(batch_server, output_dir=tmp_path) as studio:
        resumed = studio.resume(name)
        assert resumed.wait()
        assert resumed.progress.done == 2


async def _open(server: "BatchServer") -> None:
    server.gate = asyncio.Event()
    server.gate.set()


def test_a_script_that_does_not_close_the_studio_still_ends_at_once(tmp_path: Path) -> None:
    code = (
        "from vllm_image_core import BlockingStudio\n"
        "studio = BlockingStudio('http://127.0.0.1:9', output_dir='images')\n"
        "print(studio.health().status)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert (run.stdout.strip(), run.stderr) == ("unreachable", "")
