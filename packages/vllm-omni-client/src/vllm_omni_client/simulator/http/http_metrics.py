"""Count HTTP requests, their sizes and latency, as vLLM's instrumentation does."""

import time
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_UNCOUNTED: Final = ("/metrics", "/health", "/load", "/ping", "/version", "/server_info")
"""vLLM counts no request whose route, or else whose path, contains one of these."""
_HIGH_RESOLUTION: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5),
    *(10.0, 30.0, 60.0),
)
_LOW_RESOLUTION: Final = (0.1, 0.5, 1.0)


class HttpMetricsMiddleware:
    """ASGI middleware that counts requests; paths without a route are counted under the handler "none"."""

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry) -> None:
        self._app = app
        about, one, two = "Content length of {way} by handler.", ("handler",), ("handler", "method")
        self._requests = Counter(
            "http_requests",
            "Requests by method, status and handler.",
            (*two, "status"),
            registry=registry,
        )
        self._received = Summary(
            "http_request_size_bytes", about.format(way="requests"), one, registry=registry
        )
        self._sent = Summary("http_response_size_bytes", about.format(way="replies"), one, registry=registry)
        self._all = Histogram(
            "http_request_duration_highr_seconds",
            "Latency, over all handlers.",
            registry=registry,
            buckets=_HIGH_RESOLUTION,
        )
        self._each = Histogram(
            "http_request_duration_seconds",
            "Latency by handler.",
            two,
            registry=registry,
            buckets=_LOW_RESOLUTION,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and count it."""
        handler = _handler(scope) if scope["type"] == "http" else None
        if scope["type"] != "http" or any(part in (handler or scope["path"]) for part in _UNCOUNTED):
            await self._app(scope, receive, send)
            return
        status, sent, began = 500, 0, time.monotonic()

        async def record_and_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status, sent = message["status"], _length(message["headers"])
            await send(message)

        try:
            await self._app(scope, receive, record_and_send)
        finally:
            seconds, labels = time.monotonic() - began, (handler or "none", scope["method"])
            self._requests.labels(*labels, f"{status // 100}xx").inc()
            self._received.labels(labels[0]).observe(_length(scope["headers"]))
            self._sent.labels(labels[0]).observe(sent)
            self._all.observe(seconds)
            self._each.labels(*labels).observe(seconds)


def _handler(scope: Scope) -> str | None:
    """Return the path of the request's route; a path that is redirected to one counts as itself."""
    path, routes = scope["path"], scope["app"].routes
    toggled = path[:-1] if path.endswith("/") else f"{path}/"
    return _matching(scope, routes) or (
        path if toggled and _matching({**scope, "path": toggled}, routes) else None
    )


def _matching(scope: Scope, routes: Iterable[BaseRoute]) -> str | None:
    full = (route for route in routes if route.matches(scope)[0] is Match.FULL)
    return getattr(next(full, None), "path", None)


def _length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the content length in the headers, or 0 if there is none."""
    return next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
