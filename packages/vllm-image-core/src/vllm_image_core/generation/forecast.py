"""Predict the time and memory of requests on a studio's servers, and choose how many to run at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vllm_omni_client.errors import OmniError
from vllm_omni_client.metrics import ServerMetrics

from vllm_image_core.checks import check_integer
from vllm_image_core.estimation.backlog import ServerSpeed
from vllm_image_core.estimation.estimator import Estimate, estimate, estimate_edit, recommended_concurrency
from vllm_image_core.estimation.gpu import Gpu, GpuReport, report
from vllm_image_core.estimation.service_times import ServiceTimes
from vllm_image_core.estimation.work import Work
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.generation.loaded_model import LoadedModel
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import resolve_edit
from vllm_image_core.requests.image_request import ImageRequest, Task
from vllm_image_core.requests.limits import draw_seed
from vllm_image_core.requests.resolver import resolve

_MOST: Final = 1_000_000
"""Upper limit for a number of images, in total or at once."""


class Forecast:
    """Predicts the time and memory of images before they are generated.

    Args:
        loaded: The model that the servers have.
        backend: The servers.
        speeds: The servers' measured speeds.
        registry: Model profiles.
        gpu: Name and memory of the servers' GPU.
        max_concurrent: Images of a batch in progress at once; None for as many as the GPU's memory allows.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        backend: Fleet,
        speeds: ServiceTimes,
        registry: Registry,
        *,
        gpu: Gpu,
        max_concurrent: int | None,
    ) -> None:
        self._loaded = loaded
        self._backend = backend
        self._speeds = speeds
        self._registry = registry
        self._gpu = gpu
        self._max_concurrent = max_concurrent

    def speeds(self) -> Sequence[ServerSpeed]:
        """The speed of each server that gets requests; empty until one has reported its model."""
        return self._speeds.of(self._backend.at_work)

    async def pictures(self, request: ImageRequest, count: int) -> Estimate:
        """Predict the time and memory of a number of equal images.

        Raises:
            InvalidRequest: A parameter does not fit the model.
            OmniError: The server does not say which model it serves.
        """
        images = _check_count("num_images", count)
        profile = await self._profile()
        resolved = resolve(
            request, profile, draw_seed=draw_seed, input_images=0 if profile.text_to_image else 1
        )
        task = _usual_task(profile)
        expected = estimate(
            profile,
            width=resolved.width,
            height=resolved.height,
            num_inference_steps=resolved.num_inference_steps,
            num_images=images,
            guided=resolved.guided,
            total_vram_gb=self._gpu.total_vram_gb,
            predictor=self._speeds.best(profile, task),
            requests_ahead=await self._requests_ahead(),
            work=replace(Work.of(resolved, profile), task=task),
            speeds=self.speeds(),
        )
        if profile.text_to_image:
            return expected
        note = f"For edits of one image of this size: {profile.model} cannot generate images from text alone."
        return replace(expected, notes=(note, *expected.notes))

    async def edit(self, request: EditRequest) -> Estimate:
        """Predict the time and memory of one edit.

        Raises:
            InvalidRequest: The model cannot do it, or an image cannot be used.
            OmniError: The server does not say which model it serves.
        """
        profile = await self._profile()
        resolved = await asyncio.to_thread(
            resolve_edit, request, profile, draw_seed=draw_seed, known=self._registry
        )
        return estimate_edit(
            resolved,
            profile,
            total_vram_gb=self._gpu.total_vram_gb,
            predictor=self._speeds.best(profile, "edit"),
            requests_ahead=await self._requests_ahead(),
        )

    async def gpu(self) -> GpuReport:
        """Report the GPU's memory and the source of each number; None for what is not known."""
        try:
            profile = await self._profile()
        except OmniError:
            return report(self._gpu, None)
        return report(
            self._gpu,
            profile,
            peak_memory_mb=(await self._metrics()).peak_memory_mb,
            predictor=self._speeds.best(profile, _usual_task(profile)),
        )

    async def choose_concurrency(self, asked: int | None) -> int:
        """Return how many images of a batch to run at once, given the requested number or None.

        Raises:
            InvalidRequest: The number is not between 1 and 1,000,000.
            OmniError: The server does not say which model it serves.
        """
        if asked is not None:
            return _check_count("max_concurrent", asked)
        if self._max_concurrent is not None:
            return self._max_concurrent
        profile = (await self._loaded.ready()).profile
        self._backend.ceiling = ceiling = recommended_concurrency(
            self._gpu.total_vram_gb, profile, self._speeds.best(profile, _usual_task(profile))
        )
        return ceiling if len(self._backend.backends) == 1 else self._backend.window

    async def _profile(self) -> Profile:
        await self._loaded.fetch()
        return (await self._loaded.ready()).profile

    async def _requests_ahead(self) -> int | None:
        metrics = await self._metrics()
        if metrics.requests_running is None and metrics.requests_waiting is None:
            return None
        return (metrics.requests_running or 0) + (metrics.requests_waiting or 0)

    async def _metrics(self) -> ServerMetrics:
        try:
            return await self._backend.get_metrics()
        except OmniError:
            return ServerMetrics()


def _check_count(parameter: str, value: object) -> int:
    return check_integer(parameter, value, 1, _MOST, allowed=f"a whole number from 1 to {_MOST}")


def _usual_task(profile: Profile) -> Task:
    """Return the task to estimate by default: an edit only if the model does nothing else."""
    return "generation" if profile.text_to_image else "edit"
