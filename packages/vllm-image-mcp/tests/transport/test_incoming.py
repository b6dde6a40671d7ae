"""A host's line: read as a message, or answered with what is wrong with it."""

import json

import pytest
from mcp.types import JSONRPCNotification, JSONRPCRequest
from vllm_image_mcp.transport.incoming import Unreadable, read_message


def request(**changes: object) -> bytes:
    message: dict[str, object] = {"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {}, **changes}
    return json.dumps({name: value for name, value in message.items() if value is not ...}).encode()


def refusal(line: bytes) -> Unreadable:
    read = read_message(line)
    assert isinstance(read, Unreadable)
    return read


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"  \t"])
@pytest.mark.parametrize("after", [b"", b"\r", b"  \r"])
def test_whitespace_or_byte_order_marks_around_a_request_are_accepted(before: bytes, after: bytes) -> None:
    read = read_message(before + request() + after)
    assert isinstance(read, JSONRPCRequest)
    assert (read.id, read.method) == (7, "ping")


@pytest.mark.parametrize("line", [b"", b"\r", b"   ", b"\xef\xbb\xbf"])
def test_an_empty_line_is_ignored(line: bytes) -> None:
    assert read_message(line) is None


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (request(params=[]), -32602, "params must be an object."),
        (request(params="x"), -32602, "params must be an object."),
        (request(method=5), -32600, "A request needs a method, which is a string."),
        (request(method=...), -32600, "A request needs a method, which is a string."),
        (request(jsonrpc="1.0"), -32600, 'jsonrpc must be "2.0".'),
        (request(jsonrpc=...), -32600, 'jsonrpc must be "2.0".'),
        (request(error={"code": 1, "message": "x"}), -32600, "must not have a result or an error"),
        (request(params={"a": "\ud83d"}), -32700, "half of a surrogate pair"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":' + DEEP + b"}}", -32700, "too deeply"),
        (b'{"method":"ping","params":{"id":1,"a":' + DEEP + b'},"id":7}', -32700, "too deeply"),
        (
            b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":1' + b"0" * 5_000 + b"}}",
            -32700,
            "too long",
        ),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":"\xff"}}', -32700, "is not UTF-8 (byte 56)"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{', -32700, "cannot be read as JSON"),
        (b'{"jsonrpc":"2.0","\\u0069d":7,"method":"ping","params":[]}', -32602, "params must be an object."),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","id":7,"params":[]}', -32602, "params must be"),
    ],
)
def test_an_unreadable_request_is_answered_by_its_id(line: bytes, code: int, told: str) -> None:
    (reply,) = refusal(line).replies()
    answer = json.loads(reply)
    assert (answer["jsonrpc"], answer["id"], answer["error"]["code"]) == ("2.0", 7, code)
    assert told in answer["error"]["message"]


@pytest.mark.parametrize("number", [b"1.5", b"-0.25", b"1e3", b"1" + b"0" * 5_000])
def test_a_number_that_is_not_an_id_is_repeated_as_it_was_written(number: bytes) -> None:
    (reply,) = refusal(b'{"jsonrpc":"2.0","id":' + number + b',"method":"ping"}').replies()
    assert reply.startswith(b'{"jsonrpc":"2.0","id":' + number + b',"error":{')
    assert reply.endswith(b"}\n")


def test_each_request_of_a_json_rpc_batch_is_told_that_batches_are_not_supported() -> None:
    lines = b",".join(
        [request(id=1), request(id="a", params={"id": 9}), b'{"jsonrpc":"2.0","method":"x"}', b"3"]
    )
    answers = [json.loads(reply) for reply in refusal(b"[" + lines + b"]").replies()]
    assert [answer["id"] for answer in answers] == [1, "a"]
    assert "batches are not supported" in answers[0]["error"]["message"]


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"\x00",
        b"[]",
        b"[[]]",
        b"5",
        b'"id"',
        b"{}",
        b"Content-Length: 52",
        request(id=None),
        request(id=True),
        request(id={"id": 1}),
        request(id=[1]),
        b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}',
        b'{"jsonrpc":"2.0","id":7,"result":[]}',
        b'{"jsonrpc":"2.0","id":7,"error":"no"}',
        b'{"jsonrpc":"2.0","method":"ping","params":[]}',
        "{}".encode("utf-16"),
    ],
)
def test_a_line_without_an_id_is_refused_without_a_reply(line: bytes) -> None:
    assert refusal(line).replies() == []
    assert refusal(line).why


def test_a_notification_may_have_an_id_among_its_parameters() -> None:
    line = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"id":1,"requestId":7}}'
    assert isinstance(read_message(line), JSONRPCNotification)
