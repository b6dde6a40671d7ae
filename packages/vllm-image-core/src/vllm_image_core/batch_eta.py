"""When a batch will be over, and what that rests on."""

from dataclasses import dataclass
from typing import Protocol

from vllm_image_core.batching import Progress

__all__ = ["Eta", "EtaProvider", "Throughput"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Eta:
    """How long a batch will still take.

    Attributes:
        seconds: From now; None where nobody can tell.
        basis: What it rests on, in a sentence.
    """

    seconds: float | None
    basis: str


class EtaProvider(Protocol):
    """Predicts the end of a batch."""

    def eta(self, progress: Progress, *, ended: int, seconds: float) -> Eta:
        """Predict.

        Args:
            progress: How the batch stands.
            ended: How many pictures were made since the work began or went on; reused ones do not count.
            seconds: For how long that was.
        """
        ...


class Throughput:
    """Predicts from the pictures of the batch itself: as many in each second as so far."""

    def eta(self, progress: Progress, *, ended: int, seconds: float) -> Eta:
        """Predict; see `EtaProvider`."""
        if progress.total is None:
            return Eta(seconds=None, basis="the requests are still coming")
        left = (progress.waiting or 0) + progress.running
        if left == 0:
            return Eta(seconds=0.0, basis="nothing is left")
        if not ended or seconds <= 0:
            return Eta(seconds=None, basis="no picture of this batch has been made yet")
        pictures = "1 picture" if ended == 1 else f"{ended} pictures"
        return Eta(seconds=left * seconds / ended, basis=f"{pictures} of this batch in {seconds:.1f} s")
