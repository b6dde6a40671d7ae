"""Estimator: estimate the seconds and GPU memory that images will take, and say what that is based on.

Estimates come from images that the server has generated, or from the model's profile if there are none.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vllm_image_core import checks
from vllm_image_core.display.card import Card, Displayed, time_text
from vllm_image_core.estimation.backlog import ServerSpeed, basis_of, duration
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import Work
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import Profile
from vllm_image_core.requests.edit_resolver import ResolvedEdit

GB_PER_IMAGE: Final = 2.0
"""The least memory of an image in progress, in GB; an assumption, on the safe side."""

MOST_AT_ONCE: Final = 4
"""A cap of our own, so that consumer GPUs do not run out of memory."""

_MORE_ROOM: Final = (
    "Use a larger GPU or several, a quantised checkpoint, or vLLM-Omni's --enable-cpu-offload."
)

_GUIDANCE_NOTE: Final = "Guidance needs a second forward pass at each step, which takes about twice the time."

MOST_IMAGES: Final = 1_000_000_000

_SQUARE: Final = Size(1024, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate(Displayed):
    """The time and memory that images are expected to take.

    Attributes:
        size: Size of each image, in pixels.
        seconds_per_image: Service time of one image after the first, queueing excluded; with several
            servers, on the fastest. If nothing has been measured yet, on one NVIDIA H100.
        total_seconds: Time for all of them, one after another, which is how a server generates them by
            default; with several servers, shared so that all finish soonest.
        peak_vram_gb: GPU memory with one image in progress, in gigabytes; None if unknown.
        recommended_concurrent: How many requests to have in progress, 1 to 4.
        basis: What the time is based on, such as "23 images on this server, off by 5 % on the last 20".
        notes: What to know about it, one sentence each.
        measured: Whether the time comes from images that this server has generated.
        memory_basis: What the memory is based on.
        requests_ahead: Requests that the server has now, running and waiting; None if not reported.
        queue_seconds: Estimated seconds for these requests.
    """

    size: Size
    seconds_per_image: float
    total_seconds: float
    peak_vram_gb: float | None
    recommended_concurrent: int
    basis: str
    notes: tuple[str, ...]
    measured: bool = False
    memory_basis: str = "from the profile"
    requests_ahead: int | None = None
    queue_seconds: float = 0.0

    @property
    def completion_seconds(self) -> float:
        """Seconds from now until all images are done, including requests ahead of them."""
        return self.queue_seconds + self.total_seconds

    def _card(self) -> Card:
        return Card(
            title=f"Estimated time: {time_text(self.total_seconds)} "
            f"({time_text(self.seconds_per_image)} per image of {self.size})",
            facts={
                "based on": self.basis,
                "queue": time_text(self.queue_seconds) if self.queue_seconds else None,
                "GPU memory": self.peak_vram_gb and f"{self.peak_vram_gb:.0f} GB ({self.memory_basis})",
            },
            notes=self.other_notes,
        )

    @property
    def other_notes(self) -> tuple[str, ...]:
        """The notes without what `basis` and `memory_basis` already say."""
        said = (f"Time: {self.basis}.", f"Memory: {self.memory_basis}.")
        notes = (note.removeprefix(said[0]).removeprefix(said[1]).strip() for note in self.notes)
        return tuple(note for note in notes if note)

    @property
    def megapixels_per_image(self) -> float:
        """Millions of pixels of each image."""
        return self.size.megapixels


def estimate(
    profile: Profile,
    *,
    width: int,
    height: int,
    num_inference_steps: int,
    guided: bool,
    num_images: int = 1,
    total_vram_gb: float | None = None,
    predictor: Predictor | None = None,
    requests_ahead: int | None = None,
    work: Work | None = None,
    speeds: Sequence[ServerSpeed] = (),
) -> Estimate:
    """Estimate time, memory and concurrency for images with given settings.

    Sizes are in pixels and memory in gigabytes; None stands for what is not known. Without `work`, it is that
    of an image generated from text alone, and without a predictor, the profile's. Several servers, given as
    `speeds`, share the images so that all finish soonest.

    Raises:
        InvalidRequest: `num_images` is not an integer or less than 1.
    """
    images = checks.check_integer("num_images", num_images, 1, MOST_IMAGES, allowed="an integer from 1")
    size = Size(width, height)
    predictor = predictor or Predictor(profile)
    work = work or Work.at(size, num_inference_steps, guided=guided)
    peak = predictor.peak_gb(work)
    too_large = misfit(profile, total_vram_gb, predictor, megapixels=work.megapixels)
    time = (
        _time_of_several(speeds, work, images, requests_ahead or 0)
        if len(speeds) > 1
        else _time_of_one(predictor, work, images, requests_ahead or 0)
    )
    card = "" if time.measured or predictor.pictures else " The profile's time is for one NVIDIA H100."
    return Estimate(
        size=size,
        seconds_per_image=time.each,
        total_seconds=time.total,
        peak_vram_gb=peak,
        recommended_concurrent=_at_once(
            total_vram_gb, model_gb(profile, predictor), _each_gb(profile, predictor, work)
        ),
        basis=time.basis,
        notes=(
            f"{profile.type.capitalize()} model, {num_inference_steps} steps.",
            "First generation may be slower due to torch.compile warmup.",
            *([_GUIDANCE_NOTE] if guided else []),
            f"Time: {time.basis}.{card}",
            f"Memory: {predictor.memory_basis}.",
            *_queue_note(requests_ahead, time.queue + time.total),
            _concurrency_note(
                model_gb(profile, predictor), _each_gb(profile, predictor, work), total_vram_gb
            ),
            *([too_large] if too_large else []),
        ),
        measured=time.measured,
        memory_basis=predictor.memory_basis,
        requests_ahead=requests_ahead,
        queue_seconds=time.queue,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Time:
    each: float
    total: float
    queue: float
    basis: str
    measured: bool


def _time_of_one(predictor: Predictor, work: Work, images: int, ahead: int) -> _Time:
    each = predictor.seconds(work)
    return _Time(
        each=each,
        total=each * images,
        queue=ahead * (predictor.usual_seconds or each),
        basis=predictor.basis,
        measured=predictor.pictures > 0,
    )


def _time_of_several(speeds: Sequence[ServerSpeed], work: Work, images: int, ahead: int) -> _Time:
    """Estimate for several servers, where each image goes to the server that will finish it first."""
    servers = [(speed.of(work.task), speed.parallelism) for speed in speeds]
    each = [(predictor.seconds(work), at_once) for predictor, at_once in servers]
    images_per_second = sum(
        at_once / (predictor.usual_seconds or predictor.seconds(work)) for predictor, at_once in servers
    )
    basis, measured = basis_of(speeds, work.task)
    return _Time(
        each=min(seconds for seconds, _ in each),
        total=_makespan(images, each),
        queue=ahead / images_per_second,
        basis=basis,
        measured=measured,
    )


def _makespan(images: int, each: Sequence[tuple[float, int]]) -> float:
    """The shortest time in which servers generate some images, to a millionth of the first bound.

    Each server has its seconds for one image, and how many it generates at the same time.
    """
    low, high = 0.0, images * min(seconds for seconds, _ in each)
    least = high * 1e-6
    while high - low > least:
        middle = (low + high) / 2
        done = sum(math.floor(middle / seconds) * at_once for seconds, at_once in each)
        low, high = (low, middle) if done >= images else (middle, high)
    return high


def recommended_concurrency(
    total_vram_gb: float | None, profile: Profile, predictor: Predictor | None = None
) -> int:
    """How many requests to have in progress: (memory of the GPU - memory of the model) / memory of an image.

    At least 1, at most 4; 1 if the GPU's memory or the model's need is unknown. An image is
    assumed to need 2 GB; see `gb_per_image`.
    """
    return _at_once(total_vram_gb, model_gb(profile, predictor), gb_per_image(profile, predictor))


def gb_per_image(profile: Profile, predictor: Predictor | None = None) -> float:
    """GPU memory to plan for each image of 1024x1024 in progress, in gigabytes; at least the plan's 2.

    From the server's measurements, or else from the profile, whose number is the peak minus the weights if a
    source gives both.
    """
    if predictor is not None and predictor.peaks:
        return max(GB_PER_IMAGE, predictor.picture_gb(_SQUARE.megapixels))
    return max(GB_PER_IMAGE, profile.activation_gb_at_1024x1024)


def misfit(
    profile: Profile,
    total_vram_gb: float | None,
    predictor: Predictor | None = None,
    *,
    megapixels: float = _SQUARE.megapixels,
) -> str | None:
    """Why the model, or an image with it, does not fit on the GPU; None if it fits or that is unknown.

    `megapixels` is the size of the image in progress; for an edit, including its input images.
    """
    needed = model_gb(profile, predictor)
    if needed is None or total_vram_gb is None or not math.isfinite(total_vram_gb):
        return None
    image = (predictor or Predictor(profile)).picture_gb(megapixels)
    if needed + image <= total_vram_gb:
        return None
    name = profile.model if profile.is_known else "The model"
    alone = needed > total_vram_gb
    needs = f"it needs about {needed if alone else needed + image:.1f} GB of memory"
    when = "" if alone else "with an image in progress "
    problem = f"{name} does not fit on this GPU: {when}{needs}, but the GPU has {total_vram_gb:.1f} GB."
    return f"{problem} {_MORE_ROOM}"


def model_gb(profile: Profile, predictor: Predictor | None = None) -> float | None:
    """GPU memory of the loaded model, in gigabytes: measured, or from the profile; None if unknown."""
    return predictor.model_gb if predictor is not None and predictor.peaks else profile.estimated_vram_gb


def _at_once(total_vram_gb: float | None, of_the_model: float | None, gb_each: float) -> int:
    if total_vram_gb is None or of_the_model is None or not math.isfinite(total_vram_gb):
        return 1
    free = max(0.0, total_vram_gb - of_the_model)
    return max(1, min(MOST_AT_ONCE, math.floor(min(free / gb_each, MOST_AT_ONCE))))


def _each_gb(profile: Profile, predictor: Predictor, work: Work) -> float:
    """GPU memory to plan for one such image: the usual amount, or more if it needs more."""
    return max(gb_per_image(profile, predictor), predictor.picture_gb(work.megapixels))


def _queue_note(ahead: int | None, seconds: float) -> tuple[str, ...]:
    if not ahead:
        return ()
    requests = "1 request is" if ahead == 1 else f"{ahead} requests are"
    return (f"{requests} ahead at the server; all are done in {duration(seconds)}.",)


def _concurrency_note(of_the_model: float | None, each: float, total_vram_gb: float | None) -> str:
    if total_vram_gb is None:
        return "1 at a time is recommended, because the GPU's memory is not known."
    if of_the_model is None:
        return "1 at a time is recommended, because it is not known how much memory the model needs."
    free = max(0.0, total_vram_gb - of_the_model)
    return (
        f"Concurrency: {free:.1f} GB left by the model / {each:.1f} GB per image, at least 1, at most "
        f"{MOST_AT_ONCE}. By default a server generates one image at a time; the others wait."
    )


def estimate_edit(
    resolved: ResolvedEdit,
    profile: Profile,
    *,
    total_vram_gb: float | None = None,
    predictor: Predictor | None = None,
    requests_ahead: int | None = None,
) -> Estimate:
    """Estimate time and memory of one edit."""
    expected = estimate(
        profile,
        width=resolved.width,
        height=resolved.height,
        num_inference_steps=resolved.steps_run,
        guided=resolved.guided,
        total_vram_gb=total_vram_gb,
        predictor=predictor,
        requests_ahead=requests_ahead,
        work=Work.of(resolved, profile),
    )
    return replace(expected, notes=(*expected.notes, *_notes(resolved, profile)))


def _notes(resolved: ResolvedEdit, profile: Profile) -> Iterator[str]:
    if resolved.steps_run != resolved.num_inference_steps:
        run = f"{resolved.steps_run} of {resolved.num_inference_steps} steps"
        yield f"At strength {resolved.strength:g} the model runs {run}."
    more = len(resolved.inputs.images) - (0 if profile.text_to_image else 1)
    if more > 0:
        images = "1 input image adds" if more == 1 else f"{more} input images add"
        yield f"{images} pixels that the model processes in each step."
    if resolved.layers is not None:
        yield f"{resolved.layers} layers count as {resolved.layers} images."
