"""The HTTP requests themselves, counted as vLLM's instrumentation counts them."""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vllm_omni_client.simulator.http.prometheus_text import Family, Histogram, Summary, text_of

_UNCOUNTED: Final = ("/metrics", "/health", "/load", "/ping", "/version", "/server_info")
"""The routes that vLLM leaves out."""
_HIGH_RESOLUTION: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5),
    *(10.0, 30.0, 60.0),
)
_LOW_RESOLUTION: Final = (0.1, 0.5, 1.0)


class Traffic:
    """What came in and went out since the server's start."""

    def __init__(self) -> None:
        about = "Content length of {way} by handler."
        self._requests = Family(
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
        """Take in a request that was answered; sizes in bytes."""
        place = ("handler", handler)
        self._requests.add((place, ("method", method), ("status", f"{status // 100}xx")))
        self._received.observe((place,), received)
        self._sent.observe((place,), sent)
        self._all.observe(seconds)
        self._each.observe(seconds, (place, ("method", method)))

    def text(self) -> str:
        """The exposition."""
        return text_of((self._requests, self._received, self._sent, self._all, self._each))


class Instrumented:
    """An ASGI application whose requests are counted; a path that leads nowhere is the handler "none"."""

    def __init__(self, app: ASGIApp, *, traffic: Traffic, handlers: frozenset[str]) -> None:
        self._app = app
        self._traffic = traffic
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it."""
        if scope["type"] != "http" or scope["path"].startswith(_UNCOUNTED):
            await self._app(scope, receive, send)
            return
        status, sent, began = 500, 0.0, time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status, sent = message["status"], _length(message["headers"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._traffic.count(
                handler=scope["path"] if scope["path"] in self._handlers else "none",
                method=scope["method"],
                status=status,
                received=_length(scope["headers"]),
                sent=sent,
                seconds=time.monotonic() - began,
            )


def _length(headers: list[tuple[bytes, bytes]]) -> float:
    """The length that the headers tell; 0 where they tell none."""
    return next((float(value) for name, value in headers if name.lower() == b"content-length"), 0.0)
