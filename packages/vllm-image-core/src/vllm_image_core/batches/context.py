"""What all batches of a studio share: its server, its folder, its journal, and how patient they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vllm_image_core.batches.journal import Journal
from vllm_image_core.estimation.backlog import ServerSpeed
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.generation.generator import Generator
from vllm_image_core.models.registry import Registry
from vllm_image_core.storage.library import Library
from vllm_image_core.storage.owner import BEAT_SECONDS, STALE_SECONDS

__all__ = ["OUTAGE_SECONDS", "BatchContext", "Windowed"]

OUTAGE_SECONDS = 600.0
"""How long a batch waits for a server or a folder that is away before it is stopped."""

PROBE_SECONDS = 5.0
"""A server that is away is asked so often, and no more."""

LOOK_SECONDS = 1.0
"""A folder that is away is looked for so often."""


@runtime_checkable
class Windowed(Protocol):
    """A backend that knows how many calls it wants open now: several servers behind one."""

    @property
    def window(self) -> int:
        """How many, at least 1."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContext:
    """What a batch works with.

    Attributes:
        backend: The server.
        generator: Makes the pictures.
        library: The folder.
        journal: The folder's.
        registry: The models' profiles.
        timer: Seconds on a clock that never goes back.
        speeds: What is known of the speed of each server; nothing before one has told its model.
        patience_seconds: How long a batch waits for a server or a folder that is away.
        beat_seconds: How often it shows that it lives.
        probe_seconds: The least time between two looks at a server that is away.
        look_seconds: The same for a folder.
        stale_seconds: After how long without that another process may take it over.
    """

    backend: Backend
    generator: Generator
    library: Library
    journal: Journal
    registry: Registry
    timer: Callable[[], float]
    speeds: Callable[[], Sequence[ServerSpeed]]
    outage_seconds: float = OUTAGE_SECONDS
    probe_seconds: float = PROBE_SECONDS
    look_seconds: float = LOOK_SECONDS
    beat_seconds: float = BEAT_SECONDS
    stale_seconds: float = STALE_SECONDS
