"""One request of a batch, tried until it ends: through outages, and alone where it is suspected."""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal

from vllm_omni_client.errors import EngineDead, OmniError, ServerBusy, ServerUnreachable
from vllm_omni_client.generation_budget import MOST_GENERATIONS, GenerationBudget

from vllm_image_core.batches.context import BatchContext
from vllm_image_core.batches.eta import BatchEta
from vllm_image_core.batches.gates import OutageGate, SharedExclusiveGate, StillWaiting
from vllm_image_core.batches.recorder import BatchRecorder
from vllm_image_core.batches.stored_items import BatchItem, StoredOutcome
from vllm_image_core.errors import CannotSave, ImageError, NotEnoughSpace, PictureNotSaved
from vllm_image_core.generation.job import Job, Record
from vllm_image_core.storage.disk_space import pixels_for
from vllm_image_core.text import sentences

__all__ = ["BatchWorker", "Meaning", "meaning_of"]

Meaning = Literal["failure", "outage", "death", "lost"]
"""What an error means: for this request alone; for the server; that it died on this; that nobody knows."""

_GENERATIONS: Final = "generations"
"""What the journal calls the requests for an image that may have cost GPU time already."""

_DEATHS: Final = 2
"""A request on which the engine has died so often is set aside."""

_LOSSES: Final = 2
"""A request whose connection broke so often, though the server is well, has failed."""


class BatchWorker:
    """Makes the pictures of one batch, and waits where nothing can be made.

    Args:
        context: What the batch works with.
        log: The batch's.
        eta: Told of what is under way, and what is not any more.
        given_up: Called with the reason when something has been away for too long.
    """

    def __init__(
        self, context: BatchContext, log: BatchRecorder, eta: BatchEta, given_up: Callable[[str], None]
    ) -> None:
        self._context = context
        self._log = log
        self._eta = eta
        self._gate = SharedExclusiveGate()
        self._asking = asyncio.Lock()
        self._pixels = 0
        self._journal_is_well = True

        low_priority = functools.partial(
            OutageGate, outage_seconds=context.outage_seconds, told=log.record_pause, given_up=given_up
        )
        self._server = low_priority(self._is_server_well, interval_seconds=context.probe_seconds)
        self._folder = low_priority(self._is_folder_well, interval_seconds=context.look_seconds)
        self._journal = low_priority(self._is_journal_well, interval_seconds=context.look_seconds)

    @property
    def can_be_written(self) -> bool:
        """Whether the journal takes what is written."""
        return self._journal_is_well

    def close(self) -> None:
        """Send nothing any more; requests that wait for something are left waiting."""
        for outage_timeout in (self._server, self._folder, self._journal):
            outage_timeout.close()

    def journal_failed(self, reason: str | None) -> None:
        """The journal cannot be written; None: it can be again."""
        self._journal_is_well = reason is None
        if reason is None:
            self._journal.record_success()
        else:
            self._journal.record_failure(reason)

    async def generate(self, item: BatchItem, job: Job, record: Record) -> None:
        """Make a picture.

        Raises:
            LeftWaiting: Nothing is sent any more.
            ImageError: The request has failed.
            OmniError: Likewise.
        """
        tried = _AttemptRecord(item)
        job = replace(job, budget=tried.budget)
        while True:
            await self._may_send()
            try:
                await self._gate.enter(alone=tried.deaths > 0)
                try:
                    self._log.record_started(item.position, tried.as_outcome(sending=True))
                    await self._eta.mark_started(item.position, item.request)
                    await self._context.generator.generate(job, record)
                finally:
                    self._gate.leave()
            except OmniError as error:
                if await self._has_failed(error, tried):
                    raise
                self._waits_again(item, tried.as_outcome())
            except PictureNotSaved:
                self._server.record_success()
                raise
            except CannotSave as error:
                self._folder_failed(error)
                self._waits_again(item, tried.as_outcome())
            except ImageError:
                self._server.record_success()
                raise
            else:
                self._server.record_success()
                return

    def _waits_again(self, item: BatchItem, told: StoredOutcome) -> None:
        self._log.waits_again(item.position, told)
        self._eta.waits_again(item.position)

    async def _may_send(self) -> None:
        if self._journal.is_well and self._folder.is_well and self._server.is_well:
            return
        if not (await self._journal.well_again() and await self._folder.well_again()):
            raise StillWaiting
        await self._server.enter()

    def _away(self, error: OmniError) -> None:
        """Nothing is sent until the server is back; one that was just asked, or is busy, gets some time."""
        self._log.trouble = self._log.trouble or error
        wait = 0.0 if isinstance(error, ServerUnreachable | EngineDead) else self._context.probe_seconds
        if isinstance(error, ServerBusy):
            wait = max(wait, error.retry_after_seconds or 0.0)
        self._server.record_failure(sentences(error.message, error.next_step), wait_seconds=wait)

    async def _has_failed(self, error: OmniError, tried: "_AttemptRecord") -> bool:
        """Say whether a request ends with an error; where it does not, it waits again."""
        meaning = await self._meaning(error)
        tried.deaths += meaning == "death"
        tried.losses += meaning == "lost"
        set_aside = tried.deaths >= _DEATHS
        ends = set_aside or meaning == "failure" or tried.losses >= _LOSSES or tried.budget.left == 0
        if set_aside:
            error.add_note("This request is set aside: the engine has died on it twice.")
        if meaning in {"outage", "death"}:
            self._away(error)
        elif ends:
            self._server.record_success()
        return ends

    async def _meaning(self, error: OmniError) -> Meaning:
        return meaning_of(error) or await self._by_health(error)

    async def _by_health(self, error: OmniError) -> Meaning:
        """An error that a server which dies gives as well as one that is well."""
        async with self._asking:  # of many that failed together, one asks
            is_well = not self._server.is_away and await self._is_server_well()
            if not is_well:
                self._away(error)
        if is_well:
            return "lost" if error.server_state == "disconnected" else "failure"
        return "death" if error.server_state in {"disconnected", "failing"} else "outage"

    async def _is_server_well(self) -> bool:
        try:
            return await self._context.backend.health_check()
        except OmniError:
            return False

    async def hold(self, error: PictureNotSaved) -> bool:
        """Keep a picture that is paid for until the folder takes it."""
        self._server.record_success()
        self._folder_failed(error)
        return await self._folder.well_again()

    async def folder_again(self, error: CannotSave) -> bool:
        """Wait until the folder can be written again; False where nobody waits for it any longer."""
        self._folder_failed(error)
        return await self._folder.well_again()

    def _folder_failed(self, error: CannotSave) -> None:
        match error:
            case NotEnoughSpace():
                self._pixels = pixels_for(error.needed_bytes)
            case PictureNotSaved():
                self._pixels = error.picture.size.pixels
            case _:
                pass
        self._log.trouble = self._log.trouble or error
        self._folder.record_failure(sentences(error.message, error.next_step))

    async def _is_folder_well(self) -> bool:
        try:
            await asyncio.to_thread(self._context.library.check_again, pixels=self._pixels)
        except CannotSave:
            return False
        return True

    async def _is_journal_well(self) -> bool:
        return self._journal_is_well


def meaning_of(error: OmniError) -> Meaning | None:
    """What an error means for a batch, by its outcome and the state of its server.

    Returns:
        None where the server's health decides: a server that dies raises it as well as one that is well.
    """
    match error.outcome, error.server_state:
        case _, "dead":
            return "death"
        case "final", _:
            return "failure"
        case "never_sent" | "refused", "unavailable" | "busy":
            return "outage"
        case _:
            return None


class _AttemptRecord:
    """What was tried for one request, in this process and in those before it.

    Args:
        item: The request, with what the journal tells of it.
    """

    def __init__(self, item: BatchItem) -> None:
        self.deaths = _count(item, "deaths")
        self.losses = 0
        self._before = _count(item, _GENERATIONS)
        # A batch that goes on sends each request once at least: that is what it was asked for.
        self.budget = GenerationBudget(max(1, MOST_GENERATIONS - self._before))

    def as_outcome(self, *, sending: bool = False) -> StoredOutcome:
        """What the journal keeps of it; with `sending`, of a request that may cost GPU time from now on."""
        told = {"deaths": self.deaths, _GENERATIONS: self._before + self.budget.spent + sending}
        return {name: value for name, value in told.items() if value}


def _count(item: BatchItem, name: str) -> int:
    count = item.told.get(name)
    return count if isinstance(count, int) and count > 0 else 0
