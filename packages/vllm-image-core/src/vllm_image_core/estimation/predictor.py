"""Predictor: predict the time and memory of an image on one server, and say what that is based on."""

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

BASIS: Final = "nothing measured yet: from the profile, may be off by half"
UNKNOWN_BASIS: Final = (
    "nothing measured yet: a guess, because this model is unknown; may be off several times over"
)

GB_PER_MIB: Final = 1024 * 1024 / 1e9
"""Servers report mebibytes (`peak_memory_mb`), while profiles have gigabytes."""

_LEAST_GB: Final = 0.1


class Predictor:
    """Predict time and memory on one server with one model; one thread may read while another writes.

    Starts from the profile's cost law, which is then fitted to what `observe` is given; see `CostModel`.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._time = CostModel(coefficients(profile.cost))
        assumed = memory_coefficients(profile)
        self._memory = None if assumed is None else CostModel(assumed)
        self._peaks = 0

    def seconds(self, work: Work) -> float:
        """Service time in seconds on this server: time on the GPU, queueing excluded."""
        return self.seconds_of(work.terms)

    def seconds_of(self, terms: Terms) -> float:
        """The same for a sum of terms: images generated one after another."""
        return self._time.value(terms)

    def peak_gb(self, work: Work) -> float | None:
        """GPU memory with one such image in progress, in gigabytes; None if unknown."""
        return None if self._memory is None else self._memory.value(work.memory_terms)

    @property
    def model_gb(self) -> float | None:
        """GPU memory of the loaded model alone, in gigabytes; None if unknown."""
        return None if self._memory is None else self._memory.value((1.0, 0.0))

    def picture_gb(self, megapixels: float) -> float:
        """GPU memory of an image in progress in addition to the model, in gigabytes."""
        if self._memory is None:
            return activation_gb_per_megapixel(self._profile) * megapixels
        return self._memory.value((0.0, megapixels))

    def observe(
        self, work: Work, seconds: float, *, peak_mib: float | None = None, first: bool = False
    ) -> None:
        """Learn from a finished image; impossible values are ignored.

        `seconds` is the service time. `first` is the first image since the server or this process started.
        """
        if _is_plausible(seconds):
            self._time.observe(work.terms, seconds, first=first)
        if peak_mib is not None and _is_plausible(peak_mib):
            self._observe_memory(work, peak_mib * GB_PER_MIB)

    @property
    def pictures(self) -> int:
        """Number of measured images that the time is based on, at most 128."""
        return self._time.count

    @property
    def changes(self) -> int:
        """How often the server's speed has changed since it was first measured."""
        return self._time.changes

    @property
    def error(self) -> float | None:
        """Mean relative error of the last predictions, at most 20; None without any."""
        errors = self._time.errors
        return fmean(errors) if errors else None

    @property
    def usual_seconds(self) -> float | None:
        """Median of the last measured times on this server; None without any."""
        return self._time.usual

    @property
    def peaks(self) -> int:
        """Number of memory measurements."""
        return self._peaks

    @property
    def basis(self) -> str:
        """What the time is based on, and how far off it was."""
        count, errors = self._time.count, self._time.errors
        if not count:
            return BASIS if self._profile.is_known else UNKNOWN_BASIS
        where = "since this server changed its speed" if self._time.changes else "on this server"
        images = f"{_images(count)} {where}"
        if self._time.only_first:
            return f"{images}, the first one, which may have been slower"
        if not errors:
            return f"{images}, too few to say how far off"
        checked = "the last one" if len(errors) == 1 else f"the last {len(errors)}"
        return f"{images}, off by {max(1, round(100 * fmean(errors)))} % on {checked}"

    @property
    def memory_basis(self) -> str:
        """What the memory is based on."""
        if self._peaks:
            return f"measured by the server during {_images(self._peaks)}"
        return "from the profile" if self._memory is not None else "not known"

    def _observe_memory(self, work: Work, gb: float) -> None:
        if self._memory is None:
            # For an unknown model: the image by the usual rule, the rest for the model.
            each = activation_gb_per_megapixel(self._profile)
            self._memory = CostModel((max(_LEAST_GB, gb - each * work.megapixels), each))
        self._memory.observe(work.memory_terms, gb)
        self._peaks = self._memory.count


def _is_plausible(number: float) -> bool:
    return math.isfinite(number) and number > 0


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
