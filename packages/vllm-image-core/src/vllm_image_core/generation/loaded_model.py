"""Ask the servers for their model and version, and cache the answer with the matching profile."""

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import replace

from vllm_omni_client.errors import BadReply, OmniError, ServerRefused

from vllm_image_core.errors import ImageError
from vllm_image_core.estimation.measurements import Origin
from vllm_image_core.estimation.service_times import ServiceTimes
from vllm_image_core.estimation.work import Work
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.generation.job import Job, ResolvedJob
from vllm_image_core.generation.operations import resolve_operation
from vllm_image_core.models.registry import Registry
from vllm_image_core.models.served import ServedModel, match_served_model
from vllm_image_core.requests.image_request import ImageRequest, Task

_logger = logging.getLogger(__name__)

_VERSION_SECONDS = 10.0
"""A server that takes longer to report its version is treated as having none."""


class LoadedModel:
    """The model that the servers have, requested as rarely as possible.

    Args:
        backend: The servers.
        registry: Model profiles.
        wanted: The model to use, if the servers list several; None for the first one with a profile.
        speeds: Loads the servers' stored speeds; None if nobody asks for them.
        draw_seed: Returns a seed for a request without one.

    Attributes:
        version: The servers' version; None if they have not reported it.
    """

    def __init__(
        self,
        backend: Fleet,
        registry: Registry,
        speeds: ServiceTimes | None,
        *,
        draw_seed: Callable[[], int],
        wanted: str | None = None,
    ) -> None:
        self._backend = backend
        self._registry = registry
        self._wanted = wanted
        self._speeds = speeds
        self._draw_seed = draw_seed
        self.version: str | None = None
        self._version_is_known = False
        self._model: ServedModel | None = None
        self._ready_model: ServedModel | None = None

    async def fetch(self) -> ServedModel:
        """Ask the server for its model, and find the profile that matches it."""
        model = match_served_model(await self._backend.get_models(), self._registry, self._wanted)
        if model.profile.older_servers is not None:
            await self._read_version()
            model = model.for_version(self.version)
        for warning in model.warnings if model != self._model else ():
            _logger.warning("%s", warning)
        self._model = model
        return model

    async def cached(self) -> ServedModel:
        """Return the model that the server reported last; ask for it if it has not reported one."""
        return self._model or await self.fetch()

    async def ready(self) -> ServedModel:
        """Return the cached model, after loading the servers' stored speeds with it once.

        Raises:
            OmniError: The server does not say which model it serves.
        """
        await self._read_version()
        model = await self.cached()
        if self._speeds is not None and model is not self._ready_model:
            origins = [self.origin(model, server=member.url) for member in self._backend.members]
            await asyncio.to_thread(self._speeds.load, model.profile, origins)
            self._ready_model = model
        return model

    async def resolve(self, job: Job) -> ResolvedJob:
        """Check and complete a job's request, unless that was done for the model that the servers have now.

        The input images of an edit are read, and the returned job holds them.

        Raises:
            InvalidRequest: The request does not fit the model.
            OmniError: The server does not say which model it serves.
        """
        model = await self.ready()
        if isinstance(job, ResolvedJob) and (job.model, job.server_version) == (model, self.version):
            return job
        return await self._resolve(job, model)

    async def work(self, request: ImageRequest) -> Work | None:
        """Return the GPU work of a request; None if no model is known or the model cannot do it."""
        if self._model is None:
            return None
        try:
            return (await self._resolve(Job(request=request), self._model)).work
        except ImageError:
            return None

    async def _resolve(self, job: Job, model: ServedModel) -> ResolvedJob:
        request = job.request
        resolving = functools.partial(
            resolve_operation, request, model.profile, self._registry, draw_seed=self._draw_seed
        )
        is_edit = request.task == "edit"
        resolved = await asyncio.to_thread(resolving) if is_edit else resolving()
        return ResolvedJob(
            request=replace(
                request.with_inputs(resolved.inputs_by_role) if is_edit else request,
                seed=resolved.seed,
                seed_drawn=request.seed is None or request.seed_drawn,
            ),
            reuse=job.reuse,
            batch=job.batch,
            position=job.position,
            hold=job.hold,
            budget=job.budget,
            resolved=resolved,
            model=model,
            server_version=self.version,
            work=Work.of(resolved, model.profile),
        )

    def origin(self, model: ServedModel, *, server: str | None = None, task: Task = "generation") -> Origin:
        """Return the key under which a server's images are measured."""
        url = server or self._backend.base_url
        return Origin(server=url, model=model.match.name, version=self.version_of(url) or "", task=task)

    def version_of(self, server: str | None) -> str | None:
        """Return the version of one server, or the common version if its own is not known."""
        return self._backend.version_at(server or "") or self.version

    async def _read_version(self) -> None:
        """Ask for the servers' version once; it stays None if no answer comes in time."""
        if self._version_is_known:
            return
        try:
            async with asyncio.timeout(_VERSION_SECONDS):
                self.version = await self._backend.get_version()
        except (BadReply, ServerRefused, TimeoutError):
            pass  # it does not report one
        except OmniError:
            return  # not reachable now; ask again next time
        self._version_is_known = True
