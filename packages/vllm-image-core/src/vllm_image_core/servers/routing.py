"""Routing: which waiting call goes to which free server, so that all of them end soonest. Pure.

A free server takes the longest call first, and one that was never seen at work the shortest. A slow one
passes over a call that the others would have done sooner, even if they do all that waits: so the last calls
are not stranded on the slowest.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vllm_image_core.backend import ServerRequest
from vllm_image_core.parameters.size import PIXELS_PER_MEGAPIXEL
from vllm_image_core.servers.member import Call

__all__ = ["Outlook", "Queue", "others_end", "rough_cost"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to be expected of a server.

    Attributes:
        wait: Seconds until it has done what it has.
        pace: Seconds for a unit of work over all that it does at once.
        alone: Seconds for a unit of work of one call.
    """

    wait: float
    pace: float
    alone: float

    def ends(self, work: float) -> float:
        """When it would have done a call, in seconds from now."""
        return self.wait + work * self.alone


def others_end(others: Sequence[Outlook], work: float) -> float:
    """When these servers would have done some work together, beside what they have; infinity without any."""
    end, rate, busy = float("inf"), 0.0, 0.0
    for other in sorted(others, key=lambda outlook: outlook.wait):
        if other.wait >= end:
            break
        rate += 1 / other.pace
        busy += other.wait / other.pace
        end = (work + busy) / rate
    return end


class Queue:
    """The calls that wait: those that somebody waits for by arrival, those of batches by their cost."""

    def __init__(self) -> None:
        self._urgent: deque[Call] = deque()
        self._patient: list[Call] = []
        self._arrived: deque[Call] = deque()
        self._given_away = 0
        self.work = 0.0

    def __len__(self) -> int:
        return len(self._urgent) + len(self._patient)

    def __iter__(self) -> Iterator[Call]:
        yield from self._urgent
        yield from self._patient

    def add(self, call: Call) -> None:
        """Let a call wait."""
        call.number = self._given_away
        self.work += call.work
        if call.first:
            self._urgent.appendleft(call)
        elif call.patient:
            insort(self._patient, call, key=_work)
            self._arrived.append(call)
        else:
            self._urgent.append(call)

    def remove(self, call: Call) -> None:
        """Take a call out, whether it is given away or given up."""
        if call.patient and not call.first:
            start = bisect_left(self._patient, call.work, key=_work)
            del self._patient[self._patient.index(call, start)]
            self._arrived.remove(call)
        else:
            self._urgent.remove(call)
        self.work = self.work - call.work if len(self) else 0.0

    def best(
        self,
        longest: float,
        fits: Callable[[Call], bool],
        sooner: Callable[[Call], bool],
        *,
        untried: bool = False,
    ) -> Call | None:
        """The call that a server takes next; None when it is better left free.

        Args:
            longest: The most work that it would have done by the time that the others are done.
            fits: Whether it can do a call.
            sooner: Whether it would do a call sooner than any other server.
            untried: Whether nobody knows yet how fast it is.
        """
        first = next((call for call in self._urgent if fits(call)), None)
        if first is not None and sooner(first):
            return first
        oldest = self._arrived[0] if self._arrived else None
        if oldest is not None and self._is_overdue(oldest) and oldest.work <= longest and fits(oldest):
            return oldest
        if untried:
            chosen = next((call for call in self._patient if fits(call)), None)
            return chosen if chosen and (chosen.work <= longest or sooner(chosen)) else None
        position = bisect_right(self._patient, longest, key=_work)
        chosen = next((call for call in reversed(self._patient[:position]) if fits(call)), None)
        if chosen is not None:
            return chosen
        too_long = next((call for call in self._patient[position:] if fits(call)), None)
        return too_long if too_long is not None and sooner(too_long) else None

    def gave_away(self) -> None:
        """Count a call that was given to a server."""
        self._given_away += 1

    def _is_overdue(self, call: Call) -> bool:
        """Whether too many calls that came later, and cost more, have gone before this one."""
        return self._given_away - call.number > max(64, 4 * len(self._patient))


def _work(call: Call) -> float:
    return call.work


def rough_cost(request: ServerRequest) -> float:
    """Steps times what one takes, in proportion; a step's time grows a little faster than its pixels.

    The shape, 0.2 + MP + 0.2 MP², is that of the large diffusion transformers' operations.
    """
    width, _, height = (request.size or "1024x1024").partition("x")
    megapixels = int(width) * int(height) / PIXELS_PER_MEGAPIXEL
    return (request.num_inference_steps or 1) * (0.2 + megapixels + 0.2 * megapixels**2)
