"""The GPU that is not there: runs one request, or one wave of equal ones, at a time, in order of arrival."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from vllm_omni_client.simulator.engine.model_rules import ModelRules, WorkerError

T = TypeVar("T")
_MIB_PER_GIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Generic[T]):
    """One request, as the engine sees it."""

    pixels: int
    """Of all its pictures together."""
    seconds: float
    """What the real model needs for it on one H100."""
    wave: Hashable
    """Requests that are equal in this may run in one wave, on a server started for that."""
    produce: Callable[[], T]
    """Makes the pictures; called in a worker thread. What it raises fails this request alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Generic[T]):
    """A request that was carried out."""

    value: T
    queue_seconds: float
    """From its arrival to the start of its wave."""
    run_seconds: float
    """From the start of its wave to the end."""
    peak_memory_mib: float

    @property
    def generation_seconds(self) -> float:
        """From its arrival to its end: what the server reports as `stage_0_gen_ms`, waiting included."""
        return self.queue_seconds + self.run_seconds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job(Generic[T]):
    work: Work[T]
    arrived: float
    outcome: asyncio.Future[Finished[T] | Exception]

    def settle(self, outcome: Finished[T] | Exception) -> None:
        """The outcome is a value also where it is an error: nobody may be left to retrieve an exception."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Engine(Generic[T]):
    """Carries out work first in, first out; belongs to one event loop at a time.

    Args:
        rules: What a picture costs.
        capacity: Requests in one wave, at least 1.
        speed: Seconds here for one second of the real model; 0 is as fast as it goes.
        gpu_gib: The GPU's memory in GiB; None for no limit.
    """

    def __init__(self, *, rules: ModelRules, capacity: int, speed: float, gpu_gib: float | None) -> None:
        self._rules = rules
        self._capacity = capacity
        self._speed = speed
        self._gpu_gib = gpu_gib
        self._waiting: deque[_Job[T]] = deque()
        self._running: tuple[_Job[T], ...] = ()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Requests under way."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    async def run(self, work: Work[T]) -> Finished[T]:
        """Carry out the work when its turn comes.

        A call that is cancelled while it waits leaves the queue; one that runs is carried out to its end.

        Raises:
            WorkerError: Out of memory.
            Exception: Whatever the work itself raised.
        """
        outcome: asyncio.Future[Finished[T] | Exception] = asyncio.get_running_loop().create_future()
        job = _Job(work=work, arrived=time.monotonic(), outcome=outcome)
        self._forget_closed_loops()
        self._waiting.append(job)
        self._start_next()
        try:
            result = await outcome
        finally:
            if job in self._waiting:
                self._waiting.remove(job)
        if isinstance(result, Exception):
            raise result
        return result

    def _forget_closed_loops(self) -> None:
        """Work whose event loop was closed under it will never end."""
        if self._task is not None and self._task.get_loop().is_closed():
            self._task, self._running = None, ()
            self._waiting.clear()

    def _start_next(self) -> None:
        if self._task is None and self._waiting:
            self._running = self._next_wave()
            self._task = asyncio.get_running_loop().create_task(self._execute(self._running))

    def _next_wave(self) -> tuple[_Job[T], ...]:
        first = self._waiting[0]
        alike = [job for job in self._waiting if job.work.wave == first.work.wave][: self._capacity]
        for job in alike:
            self._waiting.remove(job)
        return tuple(alike)

    async def _execute(self, wave: tuple[_Job[T], ...]) -> None:
        started = time.monotonic()
        try:
            values = await self._carry_out(wave, started)
        except asyncio.CancelledError:  # the event loop ends, and with it everybody who waits
            for job in (*wave, *self._waiting):
                job.outcome.cancel()
            raise
        finally:
            self._task, self._running = None, ()
        for job, value in zip(wave, values, strict=True):
            job.settle(self._finish(job, value, wave, started))
        self._start_next()

    async def _carry_out(self, wave: tuple[_Job[T], ...], started: float) -> list[T | Exception]:
        """Each job's value or error, after the time that the real model would need."""
        try:
            self._check_memory(wave)
        except WorkerError as error:
            return [error] * len(wave)
        values = [await asyncio.to_thread(_attempt, job.work.produce) for job in wave]
        seconds = sum(
            job.work.seconds
            for job, value in zip(wave, values, strict=True)
            if not isinstance(value, Exception)
        )
        await asyncio.sleep(max(0.0, started + self._speed * seconds - time.monotonic()))
        return values

    def _check_memory(self, wave: tuple[_Job[T], ...]) -> None:
        pixels = sum(job.work.pixels for job in wave)
        if self._gpu_gib is not None and self._rules.gib(pixels=pixels) > self._gpu_gib:
            raise WorkerError(_out_of_memory(self._rules, pixels=pixels, gpu_gib=self._gpu_gib))

    def _finish(
        self, job: _Job[T], value: T | Exception, wave: tuple[_Job[T], ...], started: float
    ) -> Finished[T] | Exception:
        if isinstance(value, Exception):
            return value
        gib = self._rules.gib(pixels=sum(each.work.pixels for each in wave))
        return Finished(
            value=value,
            queue_seconds=started - job.arrived,
            run_seconds=time.monotonic() - started,
            peak_memory_mib=gib * _MIB_PER_GIB,
        )


def _attempt(produce: Callable[[], T]) -> T | Exception:
    try:
        return produce()
    except Exception as error:  # noqa: BLE001 - the boundary of one request: its caller raises it again
        return error


def _out_of_memory(rules: ModelRules, *, pixels: int, gpu_gib: float) -> str:
    """PyTorch's message for an allocation that does not fit."""
    resident = rules.family.resident_gib
    free = max(0.0, gpu_gib - resident)
    return (
        f"CUDA out of memory. Tried to allocate {rules.activation_gib(pixels=pixels):.2f} GiB. "
        f"GPU 0 has a total capacity of {gpu_gib:.2f} GiB of which {free:.2f} GiB is free. "
        f"Including non-PyTorch memory, this process has {min(resident, gpu_gib):.2f} GiB memory in use. "
        f"Of the allocated memory {min(resident, gpu_gib):.2f} GiB is allocated by PyTorch, and 0.00 GiB is "
        "reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
        "PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
    )
