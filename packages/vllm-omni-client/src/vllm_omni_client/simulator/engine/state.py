"""Track the state of the simulated engine: alive or dead, awake or asleep, and the served model names."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from vllm_omni_client.simulator.http.http_error import HttpError

_STAGES = (0,)  # a server with one diffusion stage
_BYTES_PER_GIB = 1024**3
_DISCARDED = 2


class SleepRequest(BaseModel):
    """The body of POST /v1/omni/sleep."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    stage_ids: list[int]
    level: int = 2


class WakeupRequest(BaseModel):
    """The body of POST /v1/omni/wakeup."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    stage_ids: list[int]


class EngineState:
    """The engine's current state; requests that arrive while it sleeps wait until it wakes.

    Args:
        names: The served model names.
        resident_gib: GPU memory of the loaded model, in GiB.
    """

    def __init__(self, names: Sequence[str], *, resident_gib: float) -> None:
        self._first_names = tuple(names)
        self.names: tuple[str, ...] = self._first_names
        """The served model names; requests may use the first one."""
        self.alive: bool = True
        """Whether the engine is running."""
        self._resident_gib = resident_gib
        self._sleeping: set[int] = set()
        self.has_slept: bool = False
        """Whether it was ever put to sleep."""
        self._discarded = False
        self._awake: asyncio.Event | None = None

    def restore(self) -> None:
        """Restore the state at startup, except sleep."""
        self.alive = True
        self.names = self._first_names

    async def until_awake(self) -> None:
        """Wait until the server is awake; return at once if it is."""
        while self._awake is not None:
            await self._awake.wait()

    def sleep(self, request: SleepRequest) -> Mapping[str, object]:
        """Free the GPU: level 1 keeps the weights in host memory, level 2 discards them.

        As on the server, a request for an unknown stage is refused, yet image requests wait from then on.

        Raises:
            HttpError: There is no such stage.
        """
        self._awake = self._awake or asyncio.Event()
        self.has_slept = True
        unknown = [stage for stage in request.stage_ids if stage not in _STAGES]
        if unknown:
            valid = f"valid range is {_STAGES[0]}..{_STAGES[-1]}"
            raise HttpError(
                HTTPStatus.BAD_REQUEST,
                f"Invalid stage_ids {unknown}; {valid}",
                kind="BadRequestError",
            )
        self._sleeping.update(request.stage_ids)
        self._discarded = self._discarded or request.level == _DISCARDED
        return {"status": "SUCCESS", "acks": [self._sleep_reply()]}

    def wake_up(self, request: WakeupRequest) -> Mapping[str, object]:
        """Load the model onto the GPU again.

        Raises:
            HttpError: Its weights were discarded.
        """
        if not self._sleeping.intersection(request.stage_ids):
            return {"status": "SKIPPED", "reason": "Target stages are not sleeping."}
        if self._discarded:
            raise HttpError(
                HTTPStatus.NOT_IMPLEMENTED,
                "wake_up() after sleep(level=2) is not yet implemented: weights were discarded from GPU "
                "and reloading from disk is not yet supported. Use sleep(level=1) instead, which offloads "
                "weights to CPU RAM and supports fast DMA restore.",
                kind="NotImplementedError",
            )
        self._sleeping.difference_update(request.stage_ids)
        if self._awake is not None:
            self._awake.set()
            self._awake = None
        metadata = {
            "state": "WARM",
            "source": "Platform_Simulated",
            "current_vram_gib": f"{self._resident_gib:.2f}",
        }
        return {"status": "SUCCESS", "acks": [_acknowledgement(metadata, freed_bytes=0)]}

    def _sleep_reply(self) -> Mapping[str, object]:
        freed = f"{self._resident_gib:.2f}"
        metadata = {
            "source": "Platform_Simulated",
            "total_freed_gib": freed,
            "allocator_freed_gib": freed,
            "physical_freed_gib": freed,
            "rank_residual_gib": "0.00",
        }
        return _acknowledgement(metadata, freed_bytes=int(self._resident_gib * _BYTES_PER_GIB))


def _acknowledgement(metadata: Mapping[str, str], *, freed_bytes: int) -> Mapping[str, object]:
    return {
        "task_id": str(uuid.uuid4()),
        "status": "SUCCESS",
        "stage_id": _STAGES[0],
        "rank": 0,
        "freed_bytes": freed_bytes,
        "metadata": dict(metadata),
        "error_msg": None,
    }
