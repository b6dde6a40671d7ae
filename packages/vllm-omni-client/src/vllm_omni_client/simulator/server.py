"""The simulated server: its state, and what it answers on each route."""

import asyncio
import secrets
import time
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from vllm_omni_client.simulator.body import read_generation_request
from vllm_omni_client.simulator.engine import Engine, Finished
from vllm_omni_client.simulator.generation import Order, Pictures, check, generation_failed, order, reply
from vllm_omni_client.simulator.generation_request import ImageGenerationRequest
from vllm_omni_client.simulator.model_rules import ModelRules, rules_for
from vllm_omni_client.simulator.refusal import Refusal
from vllm_omni_client.simulator.settings import SimulatorSettings
from vllm_omni_client.simulator.telemetry import Completion, Telemetry

_LARGE_GPU_GIB = 80.0  # the H100 on which the costs of models.toml were measured


class Server:
    """One model behind the routes of vLLM-Omni 0.30.0.

    Raises:
        ValueError: The model cannot run as many requests at once as the settings ask for: the real server
            refuses to start with the same words.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._rules = rules_for(settings.model)
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
        self._telemetry = Telemetry(settings.served_names[0])

    async def generate(self, request: Request) -> Response:
        """Pictures for a prompt; a client that leaves takes its request out of the queue with it."""
        arrived = time.monotonic()
        try:
            wanted = await read_generation_request(request)
            size = check(
                wanted,
                model=self._settings.served_names[0],
                max_pixels=self._settings.max_generated_image_size,
            )
            return await self._unless_disconnected(wanted, size, request.receive, arrived)
        except ClientDisconnect:
            return Response()
        except Refusal as refusal:
            return refusal.response()

    async def models(self, _: Request) -> Response:
        """A card for each served name; all have the same root."""
        cards = [_model_card(name, root=self._settings.model) for name in self._settings.served_names]
        return JSONResponse({"object": "list", "data": cards})

    async def version(self, _: Request) -> Response:
        """The version of vLLM, which on a real server is not quite that of vLLM-Omni."""
        return JSONResponse({"version": self._settings.server_version})

    async def metrics(self, request: Request) -> Response:
        """The counters as Prometheus text; the bare route announces a newer format than those below it."""
        text = self._telemetry.text(running=self._engine.running, waiting=self._engine.waiting)
        bare = request.method == "GET" and request.url.path == "/metrics"
        version = "1.0.0" if bare else "0.0.4"
        return Response(text, media_type=f"text/plain; version={version}; charset=utf-8")

    async def _unless_disconnected(
        self,
        wanted: ImageGenerationRequest,
        size: tuple[int | None, int | None],
        receive: Receive,
        arrived: float,
    ) -> Response:
        making = asyncio.create_task(self._make(wanted, size, arrived))
        leaving = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((making, leaving), return_when=asyncio.FIRST_COMPLETED)
            if making.done():
                return making.result()
            self._telemetry.failed("client_disconnect")
            raise ClientDisconnect
        except asyncio.CancelledError:  # in the same process a client leaves by cancelling the call itself
            self._telemetry.failed("client_disconnect")
            raise
        finally:
            making.cancel()
            leaving.cancel()

    async def _make(
        self, wanted: ImageGenerationRequest, size: tuple[int | None, int | None], arrived: float
    ) -> Response:
        width, height = size
        try:
            made = order(wanted, self._rules, width=width, height=height)
            submitted = time.monotonic()
            finished = await self._engine.run(made.work(self._rules))
        except Exception as error:  # the server's own boundary: whatever fails here is a reply of 500
            self._telemetry.failed("stage_error")
            raise generation_failed(error) from error
        self._telemetry.completed(
            _completion(wanted, made, finished, total_seconds=time.monotonic() - arrived)
        )
        return reply(wanted, made, finished, submit_seconds=submitted - arrived)


async def health(_: Request) -> Response:
    """The engine is alive."""
    return JSONResponse({"status": "healthy"})


async def ping(_: Request) -> Response:
    """The same as health, in the words of SageMaker: none."""
    return Response()


async def load(_: Request) -> Response:
    """Requests under way, of which the server does not count those for pictures."""
    return JSONResponse({"server_load": 0})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _gpu_gib(settings: SimulatorSettings, rules: ModelRules) -> float | None:
    """The GPU's memory: as given; where nothing was said, of a card that holds the model and a picture."""
    small = settings.vram_gib is not None and settings.vram_gib < rules.gib(pixels=2048 * 2048)
    return _LARGE_GPU_GIB if small and "vram_gib" not in settings.model_fields_set else settings.vram_gib


def _model_card(name: str, *, root: str) -> Mapping[str, object]:
    permission = {
        "id": f"modelperm-{secrets.token_hex(8)}",
        "object": "model_permission",
        "created": int(time.time()),
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "vllm",
        "root": root,
        "parent": None,
        "max_model_len": None,
        "permission": [permission],
    }


def _completion(
    wanted: ImageGenerationRequest, made: Order, finished: Finished[Pictures], *, total_seconds: float
) -> Completion:
    width, height = made.size
    return Completion(
        images=len(finished.value),
        pixels=width * height * len(finished.value),
        steps=made.steps,
        steps_given=wanted.num_inference_steps is not None,
        queue_seconds=finished.queue_seconds,
        run_seconds=finished.run_seconds,
        total_seconds=total_seconds,
        peak_memory_mib=finished.peak_memory_mib,
    )
