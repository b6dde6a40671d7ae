"""Serve the optional routes through which a test adds, lists and clears the faults of a running server."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vllm_omni_client.simulator.engine.state import EngineState
from vllm_omni_client.simulator.faults.fault import AsFault, FaultPlan

PATH = "/simulator/faults"


class FaultsRequest(BaseModel):
    """The body of a POST: the faults to add, as text or as objects."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    faults: tuple[AsFault, ...]


def control_routes(plan: FaultPlan, engine_state: EngineState) -> Sequence[Route]:
    """Build the routes: GET counts how often each fault happened, POST adds faults, DELETE removes all.

    DELETE also brings a dead engine back to life and restores the served names.
    """

    def state() -> Response:
        return JSONResponse({"faults": dict(plan.counts()), "alive": engine_state.alive})

    async def show(_: Request) -> Response:
        return state()

    async def add(request: Request) -> Response:
        try:
            added = FaultsRequest.model_validate_json(await request.body())
        except ValidationError as error:
            message = "; ".join(each["msg"] for each in error.errors())
            return JSONResponse({"error": message}, status_code=HTTPStatus.BAD_REQUEST)
        plan.add(*added.faults)
        return state()

    async def clear(_: Request) -> Response:
        plan.clear()
        engine_state.restore()
        return state()

    return [
        Route(PATH, show, methods=["GET"]),
        Route(PATH, add, methods=["POST"]),
        Route(PATH, clear, methods=["DELETE"]),
    ]
