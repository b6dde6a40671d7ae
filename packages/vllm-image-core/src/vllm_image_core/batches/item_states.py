"""Item states: track the state of each request of a batch in one byte, and the order in which they ended."""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from vllm_image_core.batches.stored_items import ItemState, StoredOutcome
from vllm_image_core.batches.worker_pool import Done, Failed, Outcome, State
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest

_ERRORS_KEPT: Final = 100
"""Number of errors kept in memory as they were raised; older ones are read from the journal."""

_WAITING: Final = int(ItemState.WAITING)
_DONE: Final = int(ItemState.DONE)
_FAILED: Final = int(ItemState.FAILED)
_RUNNING: Final = 3
_STATES: Final[dict[int, State]] = {
    _WAITING: "waiting",
    _DONE: "done",
    _FAILED: "failed",
    _RUNNING: "running",
}

ImageOutcome = Outcome[ImageRequest, GeneratedImage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Number of items in each state. `total` and `waiting` are None until all items are known.

    `reused` counts those of `done` that existed already.
    """

    total: int | None
    waiting: int | None
    running: int
    done: int
    failed: int
    cancelled: int
    reused: int = 0

    @property
    def ended_count(self) -> int:
        """Number of items in a final state."""
        return self.done + self.failed + self.cancelled


class ItemStates:
    """The states and counts of a batch's requests, and its latest outcomes with their images.

    Attributes:
        recorded: Number of requests in the journal.
        complete: Whether these are all of them.
        cancelled: Whether waiting requests are cancelled.
        reused: How many of the saved images existed already.
        unwritten: Outcomes that are not in the journal yet, by position.
    """

    def __init__(self, *, window: int) -> None:
        self.recorded: int = 0
        self.complete = False
        self.cancelled = False
        self.reused: int = 0
        self.unwritten: dict[int, StoredOutcome] = {}
        self._states = bytearray()
        self._counts = [0, 0, 0, 0]
        self._order = array("I")
        self._read = 0
        self._window = window
        self._recent: OrderedDict[int, Done[ImageRequest, GeneratedImage]] = OrderedDict()
        self._errors: OrderedDict[int, Failed[ImageRequest]] = OrderedDict()

    def record(self, count: int) -> None:
        """Add some requests, in state waiting."""
        self.recorded += count
        self._states.extend(bytes(count))
        self._counts[_WAITING] += count

    def begin_again(self) -> None:
        """Clear everything, before it is read again from a repaired journal."""
        self.recorded = 0
        self._states.clear()
        self._counts = [0, 0, 0, 0]

    def load(self, outcomes: Iterable[tuple[int, int]]) -> None:
        """Set the states of recorded requests, from the positions and states in the journal."""
        for position, state in outcomes:
            if position < self.recorded:
                self._move(position, state)

    def start(self, position: int) -> None:
        """Mark a request as in progress."""
        self._move(position, _RUNNING)

    def return_to_queue(self, position: int) -> None:
        """Mark a request as waiting again."""
        self._move(position, _WAITING)

    def end(self, outcome: ImageOutcome) -> None:
        """Mark a request as ended, and keep its outcome in memory for a reader who keeps up."""
        done = isinstance(outcome, Done)
        self._move(outcome.index, _DONE if done else _FAILED)
        self.reused += isinstance(outcome, Done) and outcome.value.reused
        self._order.append(outcome.index)
        if isinstance(outcome, Done):
            self._recent[outcome.index] = outcome
            if len(self._recent) > self._window:
                self._recent.popitem(last=False)
        else:
            self._errors[outcome.index] = outcome
            if len(self._errors) > _ERRORS_KEPT:
                self._errors.popitem(last=False)

    def mark_found(self, position: int) -> None:
        """Mark a request as done already; its image is not in memory."""
        self._move(position, _DONE)
        self._order.append(position)

    def reset(self, position: int) -> None:
        """Mark a request as waiting again, as if it had never been tried."""
        self._errors.pop(position, None)
        self._recent.pop(position, None)
        self._move(position, _WAITING)

    def next_unread(self, most: int) -> list[int]:
        """The positions of the next unread outcomes, at most `most`, in the order in which they ended."""
        return list(self._order[self._read : self._read + most])

    @property
    def unread(self) -> int:
        """Number of unread outcomes."""
        return len(self._order) - self._read

    def count_read(self) -> None:
        """Mark the next outcome as read."""
        self._read += 1

    def recent(self, position: int) -> ImageOutcome | None:
        """An outcome that is still in memory, with its image or original error; otherwise None."""
        return self._recent.get(position) or self._errors.get(position)

    def forget_images(self) -> None:
        """Drop the images that are in memory; whoever reads them again gets them from their files."""
        self._recent.clear()

    def mark_written(self, positions: Iterable[int]) -> None:
        """Mark the outcomes of some requests as written to the journal."""
        for position in positions:
            self.unwritten.pop(position, None)

    @property
    def end_state(self) -> str:
        """How the batch has ended, as the journal stores it; "open" if it has not."""
        if self.waiting or not self.complete:
            return "open"
        if not self.failed_count:
            return "done"
        return "partial" if self.done_count else "failed"

    def waits(self, position: int) -> bool:
        """Whether a request is neither in progress nor ended."""
        return self._states[position] == _WAITING

    def is_ended(self, position: int) -> bool:
        """Whether a request is done or has failed."""
        return self._states[position] in {_DONE, _FAILED}

    def state(self, position: int) -> State:
        """The state of a request.

        Raises:
            IndexError: The batch has no such request yet.
        """
        if not 0 <= position < self.recorded:
            raise IndexError(f"the batch has no request {position}")
        state = _STATES[self._states[position]]
        return "cancelled" if self.cancelled and state == "waiting" else state

    def positions(self, state: State) -> Iterator[int]:
        """Yield the positions of all requests in a state, in order."""
        code = next(code for code, name in _STATES.items() if name == state)
        place = self._states.find(code)
        while place >= 0:
            yield place
            place = self._states.find(code, place + 1)

    @property
    def running(self) -> int:
        """Requests in progress."""
        return self._counts[_RUNNING]

    @property
    def done_count(self) -> int:
        """Images saved."""
        return self._counts[_DONE]

    @property
    def failed_count(self) -> int:
        """Requests that have failed."""
        return self._counts[_FAILED]

    @property
    def waiting(self) -> int:
        """Recorded requests that are neither in progress nor ended."""
        return self._counts[_WAITING]

    @property
    def progress(self) -> Progress:
        """The current counts."""
        total = self.recorded if self.complete else None
        waiting = 0 if self.cancelled else self.waiting
        return Progress(
            total=total,
            waiting=None if total is None else waiting,
            running=self.running,
            done=self.done_count,
            failed=self.failed_count,
            cancelled=self.waiting if self.cancelled else 0,
            reused=self.reused,
        )

    def _move(self, position: int, state: int) -> None:
        self._counts[self._states[position]] -= 1
        self._counts[state] += 1
        self._states[position] = state
