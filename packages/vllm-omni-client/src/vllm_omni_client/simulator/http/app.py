"""Build the simulated server as an ASGI application: routes, API key check and framework errors."""

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from prometheus_client import make_asgi_app  # pyright: ignore[reportUnknownVariableType] - the application it returns has no type
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_omni_client.simulator.engine.state import EngineState
from vllm_omni_client.simulator.faults.control import control_routes
from vllm_omni_client.simulator.faults.fault import FaultPlan
from vllm_omni_client.simulator.faults.injection import FaultInjector
from vllm_omni_client.simulator.http.http_error import Crash
from vllm_omni_client.simulator.http.http_metrics import HttpMetricsMiddleware
from vllm_omni_client.simulator.http.openapi import openapi_document
from vllm_omni_client.simulator.http.release import Release
from vllm_omni_client.simulator.http.server import SimulatedServer, load, ping
from vllm_omni_client.simulator.http.unimplemented import unimplemented_routes
from vllm_omni_client.simulator.settings import SimulatorSettings

_GUARDED_PATHS = ("/v1", "/v2", "/inference", "/cohere")


class Simulation:
    """A simulated server, with access to its faults and its engine while it runs.

    Raises:
        ValueError: The model cannot run as many requests at once as the settings ask for.
    """

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        self.settings: SimulatorSettings = settings or SimulatorSettings()
        self.faults: FaultPlan = FaultPlan(self.settings.faults, seed=self.settings.fault_seed)
        """The faults in effect; change them at any time."""
        server = SimulatedServer(self.settings)
        self.engine_state: EngineState = server.engine_state
        """The state of the engine: whether it is alive, and the served model names."""
        self.app: Starlette = _application(self.settings, server, self.faults)
        """The ASGI application; it needs no lifespan events."""


def create_app(settings: SimulatorSettings | None = None) -> Starlette:
    """Create a simulated server for `httpx.ASGITransport` in the same process, or for any ASGI server.

    It needs neither lifespan events nor a port. Each application has its own queue, counters and settings.

    Raises:
        ValueError: The model cannot run as many requests at once as the settings ask for.
    """
    return Simulation(settings).app


def _application(settings: SimulatorSettings, server: SimulatedServer, plan: FaultPlan) -> Starlette:
    control = control_routes(plan, server.engine_state) if settings.control else ()
    faults = Middleware(FaultInjector, plan=plan, engine_state=server.engine_state, release=server.release)
    guard = [] if settings.api_key is None else [Middleware(_KeyGuard, api_key=settings.api_key)]
    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    counting = Middleware(HttpMetricsMiddleware, registry=server.registry)
    return Starlette(
        routes=[*_routes(server), *control],
        middleware=[faults, *guard, Middleware(_CrashHandler, release=server.release), cors, counting],
        exception_handlers={HTTPException: _framework_error},
    )


def _routes(server: SimulatedServer) -> list[BaseRoute]:
    others = unimplemented_routes(server.release)

    async def openapi(_: Request) -> Response:
        return JSONResponse(openapi_document(server.release, [operation for operation, _ in others]))

    other_metrics = Mount("/metrics", make_asgi_app(server.registry))  # pyright: ignore[reportUnknownArgumentType] - likewise
    other_metrics.path_regex = re.compile("^/metrics(?P<path>.*)$")  # as on the server: "/metricsx" too
    routes: list[BaseRoute] = [
        _route("/load", load, "GET"),
        _route("/version", server.version, "GET"),
        _route("/metrics", server.metrics, "GET"),
        _route("/ping", ping, "GET"),
        _route("/ping", ping, "POST"),
        _route("/health", server.health, "GET"),
        _route("/v1/models", server.models, "GET"),
        _route("/v1/images/generations", server.generate, "POST"),
        _route("/v1/images/edits", server.edit, "POST"),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/docs", _page("Swagger UI"), methods=["GET"]),
        Route("/docs/oauth2-redirect", _page("Swagger UI: OAuth2 Redirect"), methods=["GET"]),
        Route("/redoc", _page("ReDoc"), methods=["GET"]),
    ]
    routes.append(other_metrics)
    routes.extend(_route(operation.path, endpoint, operation.method) for operation, endpoint in others)
    if server.release.sleeps:
        routes.append(_route("/v1/omni/sleep", server.sleep, "POST"))
        routes.append(_route("/v1/omni/wakeup", server.wake_up, "POST"))
    return routes


def _page(title: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that stands in for the server's interactive API docs and links to the plain ones."""

    async def page(_: Request) -> Response:
        link = '<a href="/openapi.json">/openapi.json</a>'
        return HTMLResponse(
            f"<!DOCTYPE html>\n<title>FastAPI - {title}</title>\n<p>Simulated; see {link}.</p>\n"
        )

    return page


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    """Create a route for one method: unlike Starlette, the server does not answer HEAD for a GET route."""
    route = Route(path, endpoint, methods=[method])
    route.methods = {method}
    return route


async def _framework_error(_: Request, error: Exception) -> Response:
    status, detail, headers = HTTPStatus.INTERNAL_SERVER_ERROR.value, str(error), None
    if isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, _sort_allowed_methods(error.headers)
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)


def _sort_allowed_methods(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Sort the methods in the header `Allow`, which the framework lists in random order."""
    if headers is None or "Allow" not in headers:
        return headers
    return {**headers, "Allow": ", ".join(sorted(headers["Allow"].split(", ")))}


class _CrashHandler:
    """Answers requests whose handler raised `Crash`."""

    def __init__(self, app: ASGIApp, *, release: Release) -> None:
        self._app = app
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Crash as crash:
            await crash.response(self._release)(scope, receive, send)


class _KeyGuard:
    """Refuses requests to the guarded routes without the API key, before reading any of the request."""

    def __init__(self, app: ASGIApp, *, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS" or self._allows(scope):
            await self._app(scope, receive, send)
            return
        await JSONResponse({"error": "Unauthorized"}, status_code=HTTPStatus.UNAUTHORIZED)(
            scope, receive, send
        )

    def _allows(self, scope: Scope) -> bool:
        if not scope["path"].startswith(_GUARDED_PATHS):
            return True
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(key.encode(), self._api_key)
