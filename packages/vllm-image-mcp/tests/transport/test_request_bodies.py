"""An application sees complete bodies within the limit, and nothing of clients that go away."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send
from vllm_image_mcp.transport.request_bodies import CompleteBodies

LIMIT = 10


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


async def answer(messages: list[Message], *, length: str | None = None) -> tuple[list[bytes], int | None]:
    """Return the bodies that the application has received, and the status of the answer; None for none."""
    seen: list[bytes] = []
    status: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((await receive())["body"])
        await PlainTextResponse("ok")(scope, receive, send)

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])

    headers = [] if length is None else [(b"content-length", length.encode())]
    scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    too_large = PlainTextResponse("too large", status_code=413)
    await CompleteBodies(app, LIMIT, too_large)(scope, receive, send)
    return seen, status[0] if status else None


async def test_a_body_arrives_in_one_piece() -> None:
    assert await answer([part(b"12345", more=True), part(b"67890")]) == ([b"1234567890"], 200)


@pytest.mark.parametrize("messages", [[GONE], [part(b"1", more=True), GONE]])
async def test_a_client_that_disconnects_is_not_passed_on(messages: list[Message]) -> None:
    assert await answer(messages) == ([], None)


async def test_a_body_over_the_limit_is_refused_on_arrival_or_by_its_declared_length() -> None:
    assert await answer([part(b"12345", more=True), part(b"678901")]) == ([], 413)
    assert await answer([], length="11") == ([], 413)
