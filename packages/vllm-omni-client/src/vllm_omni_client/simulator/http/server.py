"""Answer the routes of the simulated server: images, edits, sleep, models, health and metrics."""

import asyncio
import time
import uuid
from collections.abc import Coroutine
from http import HTTPStatus

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from vllm_omni_client.simulator.engine.engine import Engine, TaskResult
from vllm_omni_client.simulator.engine.job import EngineJob, Pictures, create_job
from vllm_omni_client.simulator.engine.model_rules import ModelRules, rules_for
from vllm_omni_client.simulator.engine.state import EngineState, SleepRequest, WakeupRequest
from vllm_omni_client.simulator.http import edit, generation
from vllm_omni_client.simulator.http.body import read_edit_request, read_generation_request, read_json
from vllm_omni_client.simulator.http.http_error import Crash, HttpError
from vllm_omni_client.simulator.http.metrics import Completion, Metrics
from vllm_omni_client.simulator.http.model_card import model_card
from vllm_omni_client.simulator.http.parsed_request import ParsedRequest, failure
from vllm_omni_client.simulator.http.release import Release, release_for
from vllm_omni_client.simulator.http.reply import build_reply
from vllm_omni_client.simulator.settings import SimulatorSettings

_DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
_TOO_DEEP = "maximum recursion depth exceeded while calling a Python object"
_DEEPEST_COPY = 488
"""Deepest nesting that the engine's `copy.deepcopy` survives: 487 works, 490 kills it (vllm-omni 0.30.0)."""
_LARGE_GPU_GIB = 80.0  # the H100 on which the costs in models.toml were measured


class SimulatedServer:
    """A server for one model, with the routes of the vLLM-Omni release in the settings.

    Raises:
        ValueError: The model cannot run as many requests at once as the settings ask for; the real server
            refuses to start with the same message.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self.release: Release = release_for(settings.server_version)
        self._rules = rules_for(settings.model).for_release(self.release)
        if settings.max_num_seqs > 1 and not self._rules.family.batches:
            raise ValueError(
                f"{self._rules.family.pipeline!r} does not support request-level batching. "
                "Use max_num_seqs=1 for serial request execution, or choose a pipeline with "
                "supports_request_batch=True."
            )
        self._engine: Engine[Pictures] = Engine(
            rules=self._rules,
            capacity=settings.max_num_seqs,
            speed=settings.speed,
            gpu_gib=_gpu_gib(settings, self._rules),
        )
        self.engine_state: EngineState = EngineState(
            settings.served_names, resident_gib=self._rules.family.resident_gib
        )
        self.registry: CollectorRegistry = CollectorRegistry(auto_describe=True)
        for collector in (GCCollector, PlatformCollector, ProcessCollector):
            collector(registry=self.registry)
        self._metrics = Metrics(
            settings.model,
            registry=self.registry,
            release=self.release,
            running=lambda: self._engine.running,
            waiting=lambda: self._engine.waiting,
        )
        self._unfinished: set[asyncio.Task[Response]] = set()

    async def generate(self, request: Request) -> Response:
        """Generate images from a prompt; if the client disconnects, its request leaves the queue."""
        arrived = time.monotonic()
        try:
            body = await read_generation_request(request, self.release)
            parsed = generation.parse(
                body,
                model=self.engine_state.names[0],
                max_pixels=self._max_pixels,
                release=self.release,
            )
            return await self._while_connected(self._reply(parsed, arrived), request)
        except ClientDisconnect:
            return Response()
        except HttpError as refusal:
            return refusal.response(self.release, path=request.url.path)

    async def edit(self, request: Request) -> Response:
        """Edit images; the request runs to its end even if the client disconnects."""
        arrived = time.monotonic()
        try:
            body = await read_edit_request(request, self.release)
            parsed = await edit.parse(
                body,
                self._rules,
                model=self.engine_state.names[0],
                max_pixels=self._max_pixels,
                release=self.release,
            )
            return await self._run_to_completion(self._reply(parsed, arrived))
        except ClientDisconnect:
            return Response()
        except HttpError as refusal:
            return refusal.response(self.release, path=request.url.path)
        finally:
            await request.close()  # also closes the files of the form

    async def sleep(self, request: Request) -> Response:
        """Put the engine to sleep, freeing the GPU; image requests wait from then on."""
        try:
            return JSONResponse(self.engine_state.sleep(await read_json(request, SleepRequest)))
        except HttpError as refusal:
            return refusal.response(self.release, path=request.url.path)

    async def wake_up(self, request: Request) -> Response:
        """Wake the engine; requests that waited now run."""
        try:
            body = await read_json(request, WakeupRequest)
            self._check_slept()
            return JSONResponse(self.engine_state.wake_up(body))
        except Crash:
            raise
        except HttpError as refusal:
            return refusal.response(self.release, path=request.url.path)

    def _check_slept(self) -> None:
        if self.release.wake_needs_sleep and not self.engine_state.has_slept:
            raise Crash("'State' object has no attribute 'sleeping_stages'")

    async def models(self, _: Request) -> Response:
        """List a card for each served name; all have the same root."""
        cards = [model_card(name, root=self._settings.model) for name in self.engine_state.names]
        return JSONResponse({"object": "list", "data": cards})

    async def version(self, _: Request) -> Response:
        """Report the version; on a real server it is vLLM's, which may differ slightly from vLLM-Omni's."""
        return JSONResponse({"version": self._settings.server_version})

    async def health(self, _: Request) -> Response:
        """Report whether the engine is alive; a sleeping engine counts as alive."""
        if not self.release.health_has_body:
            alive = self.engine_state.alive
            return Response(status_code=HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE)
        if self.engine_state.alive:
            return JSONResponse({"status": "healthy"})
        return JSONResponse({"status": "unhealthy"}, status_code=HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(self, _: Request) -> Response:
        """Report the metrics in the newer text format, whatever the request accepts."""
        return Response(generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    @property
    def _max_pixels(self) -> int | None:
        """The limit on an image's size: the setting if given, else the release's default."""
        given = "max_generated_image_size" in self._settings.model_fields_set
        known = given or self.release.has_default_size_limit
        return self._settings.max_generated_image_size if known else None

    async def _while_connected(
        self, reply_task: Coroutine[object, object, Response], request: Request
    ) -> Response:
        """Wait for the reply; on releases that notice a disconnect, cancel it if the client leaves first."""
        if self.release.drops_disconnected:
            return await self._unless_disconnected(reply_task, request.receive)
        return await self._run_to_completion(reply_task)

    async def _unless_disconnected(
        self, reply: Coroutine[object, object, Response], receive: Receive
    ) -> Response:
        reply_task = asyncio.create_task(reply)
        disconnect_task = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait((reply_task, disconnect_task), return_when=asyncio.FIRST_COMPLETED)
            if reply_task.done():
                return reply_task.result()
            self._metrics.count_failed("client_disconnect")
            raise ClientDisconnect
        except asyncio.CancelledError:  # in the same process, a client disconnects by cancelling the call
            self._metrics.count_failed("client_disconnect")
            raise
        finally:
            reply_task.cancel()
            disconnect_task.cancel()

    async def _run_to_completion(self, reply: Coroutine[object, object, Response]) -> Response:
        reply_task = asyncio.create_task(reply)
        self._unfinished.add(reply_task)
        reply_task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(reply_task)

    async def _reply(self, parsed: ParsedRequest, arrived: float) -> Response:
        if not self.engine_state.alive:
            return _engine_error(parsed, _DEAD, stage=0)
        if parsed.nesting > _DEEPEST_COPY:
            self.engine_state.alive = False  # the engine's process dies and is not restarted
            return _engine_error(parsed, _TOO_DEEP, stage=None)
        job, result, seconds = await self._generate(parsed, arrived)
        if job.format.name == "jpg" and not self.release.encodes_jpg:
            raise failure(parsed.route, "'JPG'")  # Pillow's own name is JPEG
        return build_reply(parsed, job, result, submit_seconds=seconds, release=self.release)

    def _load(self, parsed: ParsedRequest) -> None:
        """Decode the input images, if the release does so before anything else."""
        if not self.release.loads_unread_images:
            return
        try:
            parsed.load()
        except OSError as error:
            if self.release.engine_errors == "as_worker":  # found before the worker gets the request
                raise failure(parsed.route, error) from error
            raise

    async def _generate(
        self, parsed: ParsedRequest, arrived: float
    ) -> tuple[EngineJob, TaskResult[Pictures], float]:
        """Run a request; return its job, the result, and the seconds before it entered the queue."""
        await self.engine_state.until_awake()
        try:
            self._load(parsed)
            job = create_job(
                parsed,
                self._rules,
                adapters=self._settings.lora_paths,
                has_gpu=self._settings.vram_gib != 0,
            )
            submitted = time.monotonic()
            result = await self._engine.run(job.task(self._rules))
        except HttpError:
            raise
        except Exception as error:  # like the server: any failure here is a 500 reply
            self._metrics.count_failed("stage_error")
            raise parsed.server_error(error, self.release) from error
        self._metrics.count_completed(
            _completion(parsed, job, result, total_seconds=time.monotonic() - arrived)
        )
        return job, result, submitted - arrived


async def ping(_: Request) -> Response:
    """Answer SageMaker's health check with an empty reply."""
    return Response()


async def load(_: Request) -> Response:
    """Report the number of running requests: always 0, since the server does not count image requests."""
    return JSONResponse({"server_load": 0})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _engine_error(parsed: ParsedRequest, message: str, *, stage: int | None) -> Response:
    """Build the reply for an error of the engine itself, which includes the request's id."""
    error: dict[str, object] = {
        "message": message,
        "type": "InternalServerError",
        "param": None,
        "code": 500,
        "request_id": f"{'img_edit' if parsed.pictures else 'img_gen'}-{uuid.uuid4().hex[:16]}",
        "error_stage_id": stage,
    }
    return JSONResponse({"error": error}, status_code=HTTPStatus.INTERNAL_SERVER_ERROR)


def _gpu_gib(settings: SimulatorSettings, rules: ModelRules) -> float | None:
    """Return the GPU memory: the setting if given, else enough for the model and a large image."""
    small = settings.vram_gib is not None and settings.vram_gib < rules.gib(pixels=2048 * 2048)
    return _LARGE_GPU_GIB if small and "vram_gib" not in settings.model_fields_set else settings.vram_gib


def _completion(
    parsed: ParsedRequest, job: EngineJob, result: TaskResult[Pictures], *, total_seconds: float
) -> Completion:
    width, height = job.size
    return Completion(
        images=len(result.value),
        pixels=width * height * len(result.value),
        steps=job.steps,
        steps_given=parsed.steps is not None,
        queue_seconds=result.queue_seconds,
        run_seconds=result.run_seconds,
        total_seconds=total_seconds,
        peak_memory_mib=result.peak_memory_mib,
    )
