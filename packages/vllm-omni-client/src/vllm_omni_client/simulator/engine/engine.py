"""Run one request, or one batch of matching requests, at a time on a simulated GPU, in order of arrival."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vllm_omni_client.simulator.engine.model_rules import ModelRules, WorkerError
from vllm_omni_client.simulator.engine.out_of_memory import check_memory

T = TypeVar("T")
_MIB_PER_GIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTask(Generic[T]):
    """One request, as the engine runs it."""

    pixels: int
    """Pixels of all its images together."""
    seconds: float
    """Time (s) that the real model needs for it on one H100."""
    batch_key: Hashable
    """Requests with equal keys may run in one batch, if the server was started with a capacity above 1."""
    produce: Callable[[], T]
    """Generates the images; called in a worker thread. An exception fails only this request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult(Generic[T]):
    """The result of a request, with its timing."""

    value: T
    queue_seconds: float
    """From its arrival to the start of its batch."""
    run_seconds: float
    """From the start of its batch to the end."""
    peak_memory_mib: float

    @property
    def generation_seconds(self) -> float:
        """From its arrival to its end, queueing included; the server reports this as `stage_0_gen_ms`."""
        return self.queue_seconds + self.run_seconds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _QueuedTask(Generic[T]):
    task: EngineTask[T]
    arrived: float
    outcome: asyncio.Future[TaskResult[T] | Exception]

    def settle(self, outcome: TaskResult[T] | Exception) -> None:
        """Set the outcome, as a plain value even for an error, since the caller may never retrieve it."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Engine(Generic[T]):
    """Runs tasks first in, first out; belongs to one event loop at a time.

    Args:
        rules: The model's rules, which say how much time and memory an image takes.
        capacity: Requests in one batch, at least 1.
        speed: Seconds here for one second of the real model; 0 runs as fast as possible.
        gpu_gib: GPU memory in GiB; None: unlimited.
    """

    def __init__(self, *, rules: ModelRules, capacity: int, speed: float, gpu_gib: float | None) -> None:
        self._rules = rules
        self._capacity = capacity
        self._speed = speed
        self._gpu_gib = gpu_gib
        self._waiting: deque[_QueuedTask[T]] = deque()
        self._running: tuple[_QueuedTask[T], ...] = ()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Number of requests that are running."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return len(self._waiting)

    async def run(self, task: EngineTask[T]) -> TaskResult[T]:
        """Run a task when its turn comes.

        A call that is cancelled while it waits leaves the queue; one that is already running runs to its end.

        Raises:
            WorkerError: The GPU is out of memory.
            Exception: Whatever the task itself raised.
        """
        outcome: asyncio.Future[TaskResult[T] | Exception] = asyncio.get_running_loop().create_future()
        queued = _QueuedTask(task=task, arrived=time.monotonic(), outcome=outcome)
        self._forget_closed_loops()
        self._waiting.append(queued)
        self._start_next()
        try:
            result = await outcome
        finally:
            if queued in self._waiting:
                self._waiting.remove(queued)
        if isinstance(result, Exception):
            raise result
        return result

    def _forget_closed_loops(self) -> None:
        """Drop tasks whose event loop was closed while they ran or waited: they would never end."""
        if self._task is not None and self._task.get_loop().is_closed():
            self._task, self._running = None, ()
            self._waiting.clear()

    def _start_next(self) -> None:
        if self._task is None and self._waiting:
            self._running = self._next_batch()
            self._task = asyncio.get_running_loop().create_task(self._execute(self._running))

    def _next_batch(self) -> tuple[_QueuedTask[T], ...]:
        first = self._waiting[0]
        matching = [queued for queued in self._waiting if queued.task.batch_key == first.task.batch_key][
            : self._capacity
        ]
        for queued in matching:
            self._waiting.remove(queued)
        return tuple(matching)

    async def _execute(self, batch: tuple[_QueuedTask[T], ...]) -> None:
        started = time.monotonic()
        try:
            values = await self._run_batch(batch, started)
        except asyncio.CancelledError:  # the event loop ends, so cancel all who wait
            for queued in (*batch, *self._waiting):
                queued.outcome.cancel()
            raise
        finally:
            self._task, self._running = None, ()
        for queued, value in zip(batch, values, strict=True):
            queued.settle(self._finish(queued, value, batch, started))
        self._start_next()

    async def _run_batch(self, batch: tuple[_QueuedTask[T], ...], started: float) -> list[T | Exception]:
        """Return each task's value or error, after the time that the real model would need."""
        try:
            check_memory(self._rules, pixels=_pixels(batch), gpu_gib=self._gpu_gib)
        except WorkerError as error:
            return [error] * len(batch)
        values = [await asyncio.to_thread(_value_or_error, queued.task.produce) for queued in batch]
        seconds = sum(
            queued.task.seconds
            for queued, value in zip(batch, values, strict=True)
            if not isinstance(value, Exception)
        )
        await asyncio.sleep(max(0.0, started + self._speed * seconds - time.monotonic()))
        return values

    def _finish(
        self, queued: _QueuedTask[T], value: T | Exception, batch: tuple[_QueuedTask[T], ...], started: float
    ) -> TaskResult[T] | Exception:
        if isinstance(value, Exception):
            return value
        gib = self._rules.gib(pixels=_pixels(batch))
        return TaskResult(
            value=value,
            queue_seconds=started - queued.arrived,
            run_seconds=time.monotonic() - started,
            peak_memory_mib=gib * _MIB_PER_GIB,
        )


def _pixels(batch: Sequence[_QueuedTask[T]]) -> int:
    return sum(queued.task.pixels for queued in batch)


def _value_or_error(produce: Callable[[], T]) -> T | Exception:
    try:
        return produce()
    except Exception as error:  # noqa: BLE001 - one request's boundary: the caller raises it again
        return error
