"""A predictor: the seconds and the memory of a picture on one server, and what that rests on."""

import math
from statistics import fmean
from typing import Final

from vllm_image_core.estimation.cost_model import CostModel, Terms
from vllm_image_core.estimation.work import (
    Work,
    activation_gb_per_megapixel,
    coefficients,
    memory_coefficients,
)
from vllm_image_core.models.profile import Profile

__all__ = ["BASIS", "GB_PER_MIB", "UNKNOWN_BASIS", "Predictor"]

BASIS: Final = "nothing measured yet: from the profile, may be off by half"
UNKNOWN_BASIS: Final = (
    "nothing measured yet: a guess, as nothing is known of this model; may be off several times over"
)

GB_PER_MIB: Final = 1024 * 1024 / 1e9
"""The server tells mebibytes (`peak_memory_mb`), profiles have gigabytes."""

_LEAST_GB: Final = 0.1


class Predictor:
    """What is known of one server with one model; one thread may ask while another one tells.

    The profile's law first, then fitted to what `observe` is told; see `Law`.

    Args:
        profile: The model's, or the fallback's.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._time = CostModel(coefficients(profile.cost))
        assumed = memory_coefficients(profile)
        self._memory = None if assumed is None else CostModel(assumed)
        self._peaks = 0

    def seconds(self, work: Work) -> float:
        """Service time on this server, waiting left out."""
        return self.seconds_of(work.terms)

    def seconds_of(self, terms: Terms) -> float:
        """The same of a sum of terms: one picture after the other."""
        return self._time.value(terms)

    def peak_gb(self, work: Work) -> float | None:
        """GPU memory with one such picture under way, in gigabytes; None where nobody knows."""
        return None if self._memory is None else self._memory.value(work.memory_terms)

    @property
    def model_gb(self) -> float | None:
        """GPU memory of the loaded model alone, in gigabytes; None where nobody knows."""
        return None if self._memory is None else self._memory.value((1.0, 0.0))

    def picture_gb(self, megapixels: float) -> float:
        """GPU memory that a running picture of so many megapixels takes beside the model, in gigabytes."""
        if self._memory is None:
            return activation_gb_per_megapixel(self._profile) * megapixels
        return self._memory.value((0.0, megapixels))

    def observe(
        self, work: Work, seconds: float, *, peak_mib: float | None = None, first: bool = False
    ) -> None:
        """Learn from a finished picture. Numbers that can be no measurement are passed over.

        Args:
            work: What was made.
            seconds: The service time, above zero.
            peak_mib: The peak of the memory, in mebibytes; None where the server does not tell it.
            first: Whether it was the first picture since the server or this process began.
        """
        if _can_be(seconds):
            self._time.observe(work.terms, seconds, first=first)
        if peak_mib is not None and _can_be(peak_mib):
            self._observe_memory(work, peak_mib * GB_PER_MIB)

    @property
    def pictures(self) -> int:
        """How many measured pictures the prediction of the time rests on; at most 128."""
        return self._time.count

    @property
    def changes(self) -> int:
        """How often the server has changed its speed since it was first measured."""
        return self._time.changes

    @property
    def error(self) -> float | None:
        """How far off the last predictions were, at most 20: the mean relative error; None without any."""
        errors = self._time.errors
        return fmean(errors) if errors else None

    @property
    def usual_seconds(self) -> float | None:
        """What a picture took on this server lately, the median of the last ones; None without any."""
        return self._time.usual

    @property
    def peaks(self) -> int:
        """How many measurements of the memory there are."""
        return self._peaks

    @property
    def basis(self) -> str:
        """What the time rests on, and how far off it was."""
        if not self._time.count:
            return BASIS if self._profile.is_known else UNKNOWN_BASIS
        where = "since this server changed its speed" if self.changes else "on this server"
        told = f"{_pictures(self._time.count)} {where}"
        if self._time.only_first:
            return f"{told}, the first one, which may have been slower"
        error = self.error
        if error is None:
            return f"{told}, too few to say how far off"
        return f"{told}, off by {max(1, round(100 * error))} % on the last {len(self._time.errors)}"

    @property
    def memory_basis(self) -> str:
        """What the memory rests on."""
        if self._peaks:
            return f"measured by the server during {_pictures(self._peaks)}"
        return "from the profile" if self._memory is not None else "not known"

    def _observe_memory(self, work: Work, gb: float) -> None:
        if self._memory is None:
            self._memory = CostModel(self._default_memory(work, gb))
        self._memory.observe(work.memory_terms, gb)
        self._peaks = self._memory.count

    def _default_memory(self, work: Work, gb: float) -> Terms:
        """Where nothing is known of the model: the picture's memory by the rule, the rest is the model's."""
        each = activation_gb_per_megapixel(self._profile)
        return max(_LEAST_GB, gb - each * work.megapixels), each


def _can_be(number: float) -> bool:
    return math.isfinite(number) and number > 0


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
