"""Count HTTP requests, their sizes and latency, as vLLM's instrumentation does."""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vllm_omni_client.simulator.http.prometheus_text import Histogram, MetricFamily, Summary, text_of

_UNCOUNTED: Final = ("/metrics", "/health", "/load", "/ping", "/version", "/server_info")
"""The routes that vLLM does not count."""
_HIGH_RESOLUTION: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5),
    *(10.0, 30.0, 60.0),
)
_LOW_RESOLUTION: Final = (0.1, 0.5, 1.0)


class HttpMetrics:
    """The HTTP metrics since the server started."""

    def __init__(self) -> None:
        about = "Content length of {way} by handler."
        self._requests = MetricFamily(
            "http_requests", "Requests by method, status and handler.", "counter", "_total"
        )
        self._received = Summary("http_request_size_bytes", about.format(way="requests"))
        self._sent = Summary("http_response_size_bytes", about.format(way="replies"))
        self._all = Histogram(
            "http_request_duration_highr_seconds", "Latency, over all handlers.", _HIGH_RESOLUTION, ()
        )
        self._each = Histogram("http_request_duration_seconds", "Latency by handler.", _LOW_RESOLUTION)

    def count(
        self, *, handler: str, method: str, status: int, received: float, sent: float, seconds: float
    ) -> None:
        """Record a request that was answered; sizes in bytes."""
        place = ("handler", handler)
        self._requests.add((place, ("method", method), ("status", f"{status // 100}xx")))
        self._received.observe((place,), received)
        self._sent.observe((place,), sent)
        self._all.observe(seconds)
        self._each.observe(seconds, (place, ("method", method)))

    def text(self) -> str:
        """Return the metrics as Prometheus text."""
        return text_of((self._requests, self._received, self._sent, self._all, self._each))


class HttpMetricsMiddleware:
    """ASGI middleware that counts requests; paths without a route are counted under the handler "none"."""

    def __init__(self, app: ASGIApp, *, http_metrics: HttpMetrics, handlers: frozenset[str]) -> None:
        self._app = app
        self._http_metrics = http_metrics
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and count it."""
        if scope["type"] != "http" or scope["path"].startswith(_UNCOUNTED):
            await self._app(scope, receive, send)
            return
        status, sent, began = 500, 0.0, time.monotonic()

        async def record_and_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status, sent = message["status"], _length(message["headers"])
            await send(message)

        try:
            await self._app(scope, receive, record_and_send)
        finally:
            self._http_metrics.count(
                handler=scope["path"] if scope["path"] in self._handlers else "none",
                method=scope["method"],
                status=status,
                received=_length(scope["headers"]),
                sent=sent,
                seconds=time.monotonic() - began,
            )


def _length(headers: list[tuple[bytes, bytes]]) -> float:
    """Return the content length in the headers, or 0 if there is none."""
    return next((float(value) for name, value in headers if name.lower() == b"content-length"), 0.0)
