"""Batch context: hold what all batches of a studio share: its server, folder, journal and timeouts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.limits import NO_LIMITS, Limits
from vllm_image_core.estimation.backlog import ServerSpeed
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.generation.generator import Generator
from vllm_image_core.generation.loaded_model import LoadedModel
from vllm_image_core.models.registry import Registry
from vllm_image_core.storage.library import Library
from vllm_image_core.storage.owner import HEARTBEAT_SECONDS, STALE_SECONDS

OUTAGE_SECONDS = 600.0
"""How long a batch waits for its server or folder before it is stopped."""

PROBE_SECONDS = 5.0
"""Minimum time between two probes of an unavailable server."""

FOLDER_CHECK_SECONDS = 1.0
"""Minimum time between two checks of an unavailable folder."""


@runtime_checkable
class Windowed(Protocol):
    """A backend that says how many calls it wants open, such as one with several servers."""

    @property
    def window(self) -> int:
        """Number of calls to have open, at least 1."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContext:
    """What a batch works with.

    Attributes:
        backend: The server or servers.
        generator: Generates the images.
        loaded: The model that the servers have.
        library: The folder.
        journal: The folder's journal.
        registry: The model profiles.
        timer: A monotonic clock, in seconds.
        speeds: Returns the speed of each server; empty before a server has reported its model.
        limits: How much may be requested.
        outage_seconds: How long a batch waits for its server or folder.
        probe_seconds: Minimum time between two probes of an unavailable server.
        folder_check_seconds: Minimum time between two checks of an unavailable folder.
        heartbeat_seconds: How often a batch renews its lease.
        stale_seconds: How long a lease may go without renewal before another process may take it over.
    """

    backend: Backend
    generator: Generator
    loaded: LoadedModel
    library: Library
    journal: Journal
    registry: Registry
    timer: Callable[[], float]
    speeds: Callable[[], Sequence[ServerSpeed]]
    limits: Limits = NO_LIMITS
    outage_seconds: float = OUTAGE_SECONDS
    probe_seconds: float = PROBE_SECONDS
    folder_check_seconds: float = FOLDER_CHECK_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    stale_seconds: float = STALE_SECONDS
