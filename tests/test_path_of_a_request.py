"""A request is resolved once, and passes through few modules, through whichever interface it comes."""

import sys
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType

import pytest
from mcp import Client
from vllm_image_core import ImageRequest, Studio
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings

SMALL: Mapping[str, int] = {"width": 64, "height": 64, "num_inference_steps": 2}
RESOLVERS = {
    ("vllm_image_core.requests.resolver", "resolve"): "generation",
    ("vllm_image_core.requests.edit_resolver", "resolve_edit"): "edit",
}
MOST_CHANGES = 980
"""Changes of module in one `generate_image`, with those of the simulated server."""


class CallCounter:
    """Counts the calls of this project's own functions in all threads."""

    def __init__(self) -> None:
        self._calls: dict[int, list[tuple[str, str]]] = defaultdict(list)

    def start(self) -> None:
        """Forget what was counted before."""
        self._calls.clear()

    @property
    def resolved(self) -> list[str]:
        """What was resolved: generations and edits. An edit resolves what it has in common with them."""
        found = [
            RESOLVERS[call] for calls in list(self._calls.values()) for call in calls if call in RESOLVERS
        ]
        return found if "edit" not in found else [task for task in found if task == "edit"]

    @property
    def changes(self) -> int:
        """How often two consecutive calls of a thread were of functions in different modules."""
        return sum(
            one[0] != other[0] for calls in list(self._calls.values()) for one, other in pairwise(calls)
        )

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Count a call; the interpreter calls this."""
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("vllm_"):
            self._calls[threading.get_ident()].append((module, frame.f_code.co_name))


@pytest.fixture
def counter() -> Iterator[CallCounter]:
    counter = CallCounter()
    threading.setprofile(counter)
    sys.setprofile(counter)
    yield counter
    sys.setprofile(None)
    threading.setprofile(None)


@asynccontextmanager
async def demo(folder: Path) -> AsyncGenerator[Client]:
    """A client of a demo server in this process, which has already generated an image."""
    server = build_server(Settings.from_arguments(demo=True, output_dir=folder))
    async with Client(server, mode="legacy", read_timeout_seconds=60) as client:
        await call(client, "generate_image", prompt="a fox", filename="first", **SMALL)
        yield client


async def call(client: Client, tool: str, **arguments: object) -> None:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error


@pytest.mark.parametrize("seed", [{}, {"seed": 7}], ids=["seed drawn", "seed given"])
async def test_generate_image_resolves_its_request_once(
    counter: CallCounter, tmp_path: Path, seed: Mapping[str, int]
) -> None:
    async with demo(tmp_path) as client:
        counter.start()
        await call(client, "generate_image", prompt="a lake", **SMALL, **seed)
        assert counter.resolved == ["generation"]


async def test_edit_image_resolves_its_request_once(counter: CallCounter, tmp_path: Path) -> None:
    async with demo(tmp_path) as client:
        counter.start()
        await call(client, "edit_image", prompt="at night", images=["first.png"], seed=7)
        assert counter.resolved == ["edit"]


async def test_batch_generate_resolves_each_request_once(counter: CallCounter, tmp_path: Path) -> None:
    async with demo(tmp_path) as client:
        counter.start()
        await call(client, "batch_generate", prompts=["a", "b", "c"], **SMALL, seeds=[1, 2, 3])
        assert counter.resolved == 3 * ["generation"]


@pytest.mark.parametrize("lazy", [False, True], ids=["list", "iterator"])
async def test_a_batch_of_a_studio_resolves_each_request_once(
    counter: CallCounter, simulator_url: str, tmp_path: Path, *, lazy: bool
) -> None:
    requests = [ImageRequest(prompt="a fox", seed=seed, **SMALL) for seed in range(3)]  # type: ignore[arg-type]
    async with Studio(simulator_url, output_dir=tmp_path) as studio:
        counter.start()
        await studio.batch(iter(requests) if lazy else requests).wait()
        assert counter.resolved == 3 * ["generation"]


@pytest.mark.parametrize("seed", [None, 7])
async def test_a_studio_resolves_a_request_once(
    counter: CallCounter, simulator_url: str, tmp_path: Path, seed: int | None
) -> None:
    async with Studio(simulator_url, output_dir=tmp_path) as studio:
        counter.start()
        image = await studio.generate("a fox", seed=seed, width=64, height=64, num_inference_steps=2)
        assert counter.resolved == ["generation"]
        counter.start()
        await studio.edit("at night", image.path, seed=seed)
        assert counter.resolved == ["edit"]


async def test_generate_image_changes_modules_no_more_often_than_necessary(
    counter: CallCounter, tmp_path: Path
) -> None:
    async with demo(tmp_path) as client:
        counted: list[int] = []
        for seed in range(5):  # writes in the background of a busy machine are counted, too
            counter.start()
            await call(client, "generate_image", prompt="a lake", seed=seed, **SMALL)
            counted.append(counter.changes)
        assert min(counted) <= MOST_CHANGES
