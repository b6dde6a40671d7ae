"""Batch worker: run one request until it is saved or has failed, through outages and server crashes."""

import asyncio
import functools
from collections.abc import Callable
from typing import Final, Literal

from vllm_omni_client.errors import EngineDead, OmniError, ServerBusy, ServerUnreachable
from vllm_omni_client.generation_budget import MOST_GENERATIONS, GenerationBudget

from vllm_image_core.batches.context import BatchContext
from vllm_image_core.batches.gates import GateClosed, OutageGate, SharedExclusiveGate
from vllm_image_core.batches.recorder import BatchRecorder
from vllm_image_core.batches.stored_items import BatchItem, StoredOutcome
from vllm_image_core.errors import CannotSave, ImageError, NotEnoughSpace, PictureNotSaved
from vllm_image_core.estimation.backlog import Backlog
from vllm_image_core.generation.job import Job, Record
from vllm_image_core.storage.disk_space import pixels_for
from vllm_image_core.text import sentences

Meaning = Literal["failure", "outage", "death", "lost"]
"""What an error means: the request failed, the server or its engine is down, the connection was lost."""

_GENERATIONS: Final = "generations"
"""The journal's key for how many times a request was sent and may have cost GPU time."""

_DEATHS: Final = 2
"""Engine deaths after which a request is set aside."""

_LOSSES: Final = 2
"""Lost connections, with the server healthy, after which a request has failed."""


class BatchWorker:
    """Run the requests of one batch, and wait during outages of the server, folder or journal.

    Args:
        context: What the batch works with.
        recorder: The batch's recorder.
        backlog: Kept up to date about requests in progress.
        on_give_up: Called with the reason when an outage has lasted too long.
    """

    def __init__(
        self,
        context: BatchContext,
        recorder: BatchRecorder,
        backlog: Backlog,
        on_give_up: Callable[[str], None],
    ) -> None:
        self._context = context
        self._recorder = recorder
        self._backlog = backlog
        self._gate = SharedExclusiveGate()
        self._pixels = 0
        self._can_write_journal = True

        gate = functools.partial(
            OutageGate,
            outage_seconds=context.outage_seconds,
            on_change=recorder.record_pause,
            on_give_up=on_give_up,
        )
        self._server = gate(self._is_server_healthy, interval_seconds=context.probe_seconds)
        self._folder = gate(self._is_folder_writable, interval_seconds=context.folder_check_seconds)
        self._journal = gate(self._is_journal_writable, interval_seconds=context.folder_check_seconds)

    @property
    def can_write_journal(self) -> bool:
        """Whether the journal can be written."""
        return self._can_write_journal

    def close(self) -> None:
        """Stop sending; waiting requests stay in the queue."""
        for gate in (self._server, self._folder, self._journal):
            gate.close()

    def journal_failed(self, reason: str | None) -> None:
        """Record why the journal cannot be written; None if it can be again."""
        self._can_write_journal = reason is None
        if reason is None:
            self._journal.record_success()
        else:
            self._journal.record_failure(reason)

    async def generate(
        self, item: BatchItem, job_within: Callable[[GenerationBudget], Job], record: Record
    ) -> None:
        """Generate an image, retrying through outages; `job_within` makes its job for a budget.

        Raises:
            GateClosed: Sending has stopped; the request stays in the queue.
            ImageError: The request has failed.
            OmniError: Likewise.
        """
        attempts = _AttemptRecord(item, label=self._recorder.label(item.position))
        job = job_within(attempts.budget)
        on_start = functools.partial(self._backlog.mark_sent, item.position)
        while True:
            await self._may_send()
            try:
                await self._gate.enter(alone=attempts.deaths > 0)
                try:
                    self._recorder.record_started(item.position, attempts.as_outcome(sending=True))
                    await self._context.generator.generate(job, record, on_start=on_start)
                finally:
                    self._gate.leave()
            except OmniError as error:
                if await self._has_failed(error, attempts):
                    raise
                self._waits_again(item, attempts.as_outcome())
            except PictureNotSaved:
                self._server.record_success()
                raise
            except CannotSave as error:
                self._folder_failed(error)
                self._waits_again(item, attempts.as_outcome())
            except ImageError:
                self._server.record_success()
                raise
            else:
                self._server.record_success()
                return

    def _waits_again(self, item: BatchItem, outcome: StoredOutcome) -> None:
        self._recorder.waits_again(item.position, outcome)
        self._backlog.mark_returned(item.position)

    async def _may_send(self) -> None:
        if self._journal.is_available and self._folder.is_available and self._server.is_available:
            return
        if not (await self._journal.wait_until_available() and await self._folder.wait_until_available()):
            raise GateClosed
        await self._server.enter()

    def _away(self, error: OmniError) -> None:
        """Stop sending until the server is back; if it has just answered, wait before the first probe."""
        self._recorder.trouble = self._recorder.trouble or error
        wait = 0.0 if isinstance(error, ServerUnreachable | EngineDead) else self._context.probe_seconds
        if isinstance(error, ServerBusy):
            wait = max(wait, error.retry_after_seconds or 0.0)
        self._server.record_failure(sentences(error.message, error.next_step), wait_seconds=wait)

    async def _has_failed(self, error: OmniError, attempts: "_AttemptRecord") -> bool:
        """Whether an error ends the request; otherwise it goes back to the queue."""
        meaning = meaning_of(error) or await meaning_by_health(error, self._server)
        attempts.deaths += meaning == "death"
        attempts.losses += meaning == "lost"
        set_aside = attempts.deaths >= _DEATHS
        ends = set_aside or meaning == "failure" or attempts.losses >= _LOSSES or attempts.budget.left == 0
        if set_aside:
            error.add_note("This request was set aside because the engine died on it twice.")
        if meaning in {"outage", "death"}:
            self._away(error)
        elif ends:
            self._server.record_success()
        return ends

    async def _is_server_healthy(self) -> bool:
        try:
            return await self._context.backend.health_check()
        except OmniError:
            return False

    async def hold(self, error: PictureNotSaved) -> bool:
        """Hold a generated image until the folder can be written; False if the batch ends first."""
        self._server.record_success()
        self._folder_failed(error)
        return await self._folder.wait_until_available()

    async def wait_for_folder(self, error: CannotSave) -> bool:
        """Wait until the folder can be written again; False if the batch ends first."""
        self._folder_failed(error)
        return await self._folder.wait_until_available()

    def _folder_failed(self, error: CannotSave) -> None:
        match error:
            case NotEnoughSpace():
                self._pixels = pixels_for(error.needed_bytes)
            case PictureNotSaved():
                self._pixels = error.picture.size.pixels
            case _:
                pass
        self._recorder.trouble = self._recorder.trouble or error
        self._folder.record_failure(sentences(error.message, error.next_step))

    async def _is_folder_writable(self) -> bool:
        try:
            await asyncio.to_thread(self._context.library.check_again, pixels=self._pixels)
        except CannotSave:
            return False
        return True

    async def _is_journal_writable(self) -> bool:
        return self._can_write_journal


def meaning_of(error: OmniError) -> Meaning | None:
    """What an error means for a batch, by its outcome and the state of its server.

    Returns:
        None if it depends on the server's health: both a dying and a healthy server give this error.
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


async def meaning_by_health(error: OmniError, servers: OutageGate) -> Meaning:
    """What an error that a dying or a healthy server may return means; the caller then reports an outage."""
    if await servers.check():
        return "lost" if error.server_state == "disconnected" else "failure"
    return "death" if error.server_state in {"disconnected", "failing"} else "outage"


class _AttemptRecord:
    """Attempts at one request, in this process and in earlier ones.

    Args:
        item: The request, with its attempts so far from the journal.
        label: What log lines call it.
    """

    def __init__(self, item: BatchItem, *, label: str) -> None:
        self.deaths = _count(item, "deaths")
        self.losses = 0
        earlier = _count(item, _GENERATIONS)
        # A resumed batch sends each request at least once: that is what resuming asks for.
        left = max(1, MOST_GENERATIONS - earlier)
        self.budget = GenerationBudget(left, label=label, earlier=earlier)

    def as_outcome(self, *, sending: bool = False) -> StoredOutcome:
        """What the journal stores; with `sending`, one more attempt that may cost GPU time is counted."""
        counts = {"deaths": self.deaths, _GENERATIONS: self.budget.spent + sending}
        return {name: value for name, value in counts.items() if value}


def _count(item: BatchItem, name: str) -> int:
    count = item.outcome.get(name)
    return count if isinstance(count, int) and count > 0 else 0
