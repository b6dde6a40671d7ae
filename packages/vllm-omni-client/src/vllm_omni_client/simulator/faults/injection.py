"""Apply planned faults to requests: return errors, delay or corrupt replies, and break connections."""

import asyncio
from http import HTTPStatus

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vllm_omni_client.simulator.engine.state import EngineState
from vllm_omni_client.simulator.faults.connection import Connection
from vllm_omni_client.simulator.faults.corruption import CompleteReply, corrupt, sent_part
from vllm_omni_client.simulator.faults.fault import Fault, FaultPlan
from vllm_omni_client.simulator.http.http_error import HttpError
from vllm_omni_client.simulator.http.release import Release

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class FaultInjector:
    """ASGI middleware that passes requests through, except those that a fault affects."""

    def __init__(self, app: ASGIApp, *, plan: FaultPlan, engine_state: EngineState, release: Release) -> None:
        self._app = app
        self._release = release
        self._plan = plan
        self._engine_state = engine_state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with a fault if the plan has one for it."""
        fault = self._plan.next_fault(scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        match fault.kind:
            case "status" | "html" | "out-of-memory":
                await _read(receive)
                await _error(fault, self._release)(scope, receive, send)
            case "delay":
                await asyncio.sleep(fault.seconds)
                await self._app(scope, receive, send)
            case "engine-death":
                self._engine_state.alive = False
                await self._app(scope, receive, send)
            case "model-swap":
                self._engine_state.names = (fault.name,)
                await self._app(scope, receive, send)
            case "reset-before":
                await _read(receive)
                await _break(scope, receive)
            case _:
                reply = await asyncio.to_thread(corrupt, fault, await self._reply(scope, receive))
                await _send(reply, fault, scope, receive, send)

    async def _reply(self, scope: Scope, receive: Receive) -> CompleteReply:
        """Collect the complete reply of the server."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        start, *rest = messages
        return CompleteReply(
            status=start["status"],
            headers=tuple((bytes(name), bytes(value)) for name, value in start["headers"]),
            body=b"".join(message.get("body", b"") for message in rest),
        )


async def _send(reply: CompleteReply, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a reply as far as the fault allows, then break the connection if the fault says so."""
    body = sent_part(fault, reply)
    await send({"type": "http.response.start", "status": reply.status, "headers": list(reply.headers)})
    match fault.kind:
        case "trickle":
            trickling = asyncio.create_task(_trickle(body, fault.seconds, send))
            disconnect = asyncio.create_task(_wait_for_disconnect(receive))
            try:
                await asyncio.wait((trickling, disconnect), return_when=asyncio.FIRST_COMPLETED)
            finally:
                trickling.cancel()
                disconnect.cancel()
        case "truncate":
            await _body(send, body, more=True)
            await _break(scope, receive, gently=True)
        case "reset-in":
            await _body(send, body, more=True)
            await _break(scope, receive)
        case "reset-after":
            await _body(send, body)
            Connection.of(scope).reset()
        case _:
            await _body(send, body)


async def _trickle(content: bytes, seconds: float, send: Send) -> None:
    for place in range(len(content)):
        await _body(send, content[place : place + 1], more=True)
        await asyncio.sleep(seconds)
    await _body(send, b"")


async def _body(send: Send, content: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def _break(scope: Scope, receive: Receive, *, gently: bool = False) -> None:
    """Break the connection and wait until the server notices, so that it sends nothing of its own."""
    connection = Connection.of(scope)
    if gently:
        connection.close()
    else:
        connection.reset()
    await _wait_for_disconnect(receive)


async def _wait_for_disconnect(receive: Receive) -> None:
    """Wait until the connection is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> None:
    """Read the complete request; a client that is still sending would not see the reply."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


def _error(fault: Fault, release: Release) -> Response:
    """Build an error reply of the server itself, or of a proxy in front of it."""
    if fault.kind == "out-of-memory":
        return HttpError(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "Image generation failed: CUDA out of memory. Tried to allocate 2.00 GiB.",
        ).response(release)
    default = HTTPStatus.BAD_GATEWAY if fault.kind == "html" else HTTPStatus.SERVICE_UNAVAILABLE
    status = fault.status or default.value
    phrase = _PHRASES.get(status, "Unknown")
    if fault.kind == "html":
        title = f"{status} {phrase}"
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
        response: Response = HTMLResponse(page, status_code=status)
    else:
        error = {"message": f"Simulated fault: {phrase}", "type": phrase, "param": None, "code": status}
        response = JSONResponse({"error": error}, status_code=status)
    if fault.retry_after is not None:
        response.headers["retry-after"] = fault.retry_after
    return response
