"""The simulated server: its state, and what it answers on each route."""

import asyncio
import time
import uuid
from collections.abc import Coroutine
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from vllm_omni_client.simulator.engine.engine import Engine, Finished
from vllm_omni_client.simulator.engine.job import EngineJob, Pictures, order
from vllm_omni_client.simulator.engine.model_rules import ModelRules, rules_for
from vllm_omni_client.simulator.engine.state import EngineState, SleepRequest, WakeupRequest
from vllm_omni_client.simulator.http import edit, generation
from vllm_omni_client.simulator.http.body import read_edit_request, read_generation_request, read_json
from vllm_omni_client.simulator.http.http_error import Crash, HttpError
from vllm_omni_client.simulator.http.http_metrics import Traffic
from vllm_omni_client.simulator.http.metrics import Completion, Metrics
from vllm_omni_client.simulator.http.model_card import model_card
from vllm_omni_client.simulator.http.parsed_request import ParsedRequest, failure
from vllm_omni_client.simulator.http.process_metrics import process_families
from vllm_omni_client.simulator.http.prometheus_text import text_of
from vllm_omni_client.simulator.http.release import Release, release_for
from vllm_omni_client.simulator.http.reply import reply
from vllm_omni_client.simulator.settings import SimulatorSettings

_DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
_TOO_DEEP = "maximum recursion depth exceeded while calling a Python object"
_DEEPEST_COPY = 488
"""How deep the engine's `copy.deepcopy` goes: 487 is well, 490 kills it (vllm-omni 0.30.0)."""
_LARGE_GPU_GIB = 80.0  # the H100 on which the costs of models.toml were measured


class SimulatedServer:
    """One model behind the routes of vLLM-Omni, as the release that the settings name has them.

    Raises:
        ValueError: The model cannot run as many requests at once as the settings ask for: the real server
            refuses to start with the same words.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self.release: Release = release_for(settings.server_version)
        self._rules = rules_for(settings.model).under(self.release)
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
        self._telemetry = Metrics(settings.model, counts_images=self.release.counts_images)
        self.traffic: Traffic = Traffic()
        self._undropped: set[asyncio.Task[Response]] = set()

    async def generate(self, request: Request) -> Response:
        """Pictures for a prompt; a client that leaves takes its request out of the queue with it."""
        arrived = time.monotonic()
        try:
            wanted = await read_generation_request(request, self.release)
            parsed = generation.parse(
                wanted,
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
        """Pictures made from pictures; carried out to the end also for a client that has left."""
        arrived = time.monotonic()
        try:
            wanted = await read_edit_request(request, self.release)
            parsed = await edit.parse(
                wanted,
                self._rules,
                model=self.engine_state.names[0],
                max_pixels=self._max_pixels,
                release=self.release,
            )
            return await self._to_the_end(self._reply(parsed, arrived))
        except ClientDisconnect:
            return Response()
        except HttpError as refusal:
            return refusal.response(self.release, path=request.url.path)
        finally:
            await request.close()  # and with it the files of the form

    async def sleep(self, request: Request) -> Response:
        """Free the GPU; generations wait from now on."""
        try:
            return JSONResponse(self.engine_state.sleep(await read_json(request, SleepRequest)))
        except HttpError as refusal:
            return refusal.response(self.release, path=request.url.path)

    async def wake_up(self, request: Request) -> Response:
        """Take the GPU again; whoever waited is served."""
        try:
            wanted = await read_json(request, WakeupRequest)
            self._check_slept()
            return JSONResponse(self.engine_state.wake_up(wanted))
        except Crash:
            raise
        except HttpError as refusal:
            return refusal.response(self.release, path=request.url.path)

    def _check_slept(self) -> None:
        if self.release.wake_needs_sleep and not self.engine_state.has_slept:
            raise Crash("'State' object has no attribute 'sleeping_stages'")

    async def models(self, _: Request) -> Response:
        """A card for each served name; all have the same root."""
        cards = [model_card(name, root=self._settings.model) for name in self.engine_state.names]
        return JSONResponse({"object": "list", "data": cards})

    async def version(self, _: Request) -> Response:
        """The version of vLLM, which on a real server is not quite that of vLLM-Omni."""
        return JSONResponse({"version": self._settings.server_version})

    async def health(self, _: Request) -> Response:
        """Whether the engine is alive; a sleeping one is."""
        if not self.release.tells_health:
            alive = self.engine_state.alive
            return Response(status_code=HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE)
        if self.engine_state.alive:
            return JSONResponse({"status": "healthy"})
        return JSONResponse({"status": "unhealthy"}, status_code=HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(self, request: Request) -> Response:
        """The counters as Prometheus text; the bare route announces a newer format than those below it."""
        text = text_of(process_families())
        if self.release.exports_metrics:
            text += self._telemetry.text(
                running=self._engine.running,
                waiting=self._engine.waiting,
                only=self.release.omni_metrics,
                prefix=self.release.metrics_prefix,
            )
        text += self.traffic.text()
        bare = request.method == "GET" and request.url.path == "/metrics"
        version = "1.0.0" if bare else "0.0.4"
        return Response(text, media_type=f"text/plain; version={version}; charset=utf-8")

    @property
    def _max_pixels(self) -> int | None:
        """The limit on a picture's size: as given, else the release's own."""
        given = "max_generated_image_size" in self._settings.model_fields_set
        known = given or self.release.has_default_size_limit
        return self._settings.max_generated_image_size if known else None

    async def _while_connected(
        self, making: Coroutine[object, object, Response], request: Request
    ) -> Response:
        """The reply, unless the client leaves before, on a release that notices it."""
        if self.release.drops_disconnected:
            return await self._unless_disconnected(making, request.receive)
        return await self._to_the_end(making)

    async def _unless_disconnected(
        self, reply: Coroutine[object, object, Response], receive: Receive
    ) -> Response:
        making = asyncio.create_task(reply)
        leaving = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait((making, leaving), return_when=asyncio.FIRST_COMPLETED)
            if making.done():
                return making.result()
            self._telemetry.count_failed("client_disconnect")
            raise ClientDisconnect
        except asyncio.CancelledError:  # in the same process a client leaves by cancelling the call itself
            self._telemetry.count_failed("client_disconnect")
            raise
        finally:
            making.cancel()
            leaving.cancel()

    async def _to_the_end(self, reply: Coroutine[object, object, Response]) -> Response:
        making = asyncio.create_task(reply)
        self._undropped.add(making)
        making.add_done_callback(self._undropped.discard)
        return await asyncio.shield(making)

    async def _reply(self, parsed: ParsedRequest, arrived: float) -> Response:
        if not self.engine_state.alive:
            return _engine_error(parsed, _DEAD, stage=0)
        if parsed.nesting > _DEEPEST_COPY:
            self.engine_state.alive = False  # the engine's process dies of it, and nothing starts another one
            return _engine_error(parsed, _TOO_DEEP, stage=None)
        made, finished, seconds = await self._generate(parsed, arrived)
        if made.format.name == "jpg" and not self.release.knows_jpg:
            raise failure(parsed.route, "'JPG'")  # Pillow's own name is JPEG
        return reply(parsed, made, finished, submit_seconds=seconds, release=self.release)

    def _load(self, parsed: ParsedRequest) -> None:
        """Decode the input images, where a release does it before it looks at anything else."""
        if not self.release.loads_unread_images:
            return
        try:
            parsed.load()
        except OSError as error:
            if self.release.engine_errors == "of_worker":  # not the worker's: it is found before that
                raise failure(parsed.route, error) from error
            raise

    async def _generate(
        self, parsed: ParsedRequest, arrived: float
    ) -> tuple[EngineJob, Finished[Pictures], float]:
        """What became of a wish, and after how many seconds it entered the queue."""
        await self.engine_state.until_awake()
        try:
            self._load(parsed)
            made = order(parsed, self._rules, adapters=self._settings.lora_paths)
            submitted = time.monotonic()
            finished = await self._engine.run(made.work(self._rules))
        except HttpError:
            raise
        except Exception as error:  # the server's own boundary: whatever fails here is a reply of 500
            self._telemetry.count_failed("stage_error")
            raise parsed.server_error(error, self.release) from error
        self._telemetry.count_completed(
            _completion(parsed, made, finished, total_seconds=time.monotonic() - arrived)
        )
        return made, finished, submitted - arrived


async def ping(_: Request) -> Response:
    """The same as health, in the words of SageMaker: none."""
    return Response()


async def load(_: Request) -> Response:
    """Requests under way, of which the server does not count those for pictures."""
    return JSONResponse({"server_load": 0})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _engine_error(parsed: ParsedRequest, message: str, *, stage: int | None) -> Response:
    """An error of the engine itself: unlike others it has the request's id."""
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
    """The GPU's memory: as given; where nothing was said, of a card that holds the model and a picture."""
    small = settings.vram_gib is not None and settings.vram_gib < rules.gib(pixels=2048 * 2048)
    return _LARGE_GPU_GIB if small and "vram_gib" not in settings.model_fields_set else settings.vram_gib


def _completion(
    parsed: ParsedRequest, made: EngineJob, finished: Finished[Pictures], *, total_seconds: float
) -> Completion:
    width, height = made.size
    return Completion(
        images=len(finished.value),
        pixels=width * height * len(finished.value),
        steps=made.steps,
        steps_given=parsed.steps is not None,
        queue_seconds=finished.queue_seconds,
        run_seconds=finished.run_seconds,
        total_seconds=total_seconds,
        peak_memory_mib=finished.peak_memory_mib,
    )
