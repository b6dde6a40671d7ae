"""Parse a line from the host into an MCP message, or into the error to send back."""

import codecs
import json
import re
from dataclasses import dataclass
from typing import Final

from mcp.types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)
_NUMBER: Final = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_CAUSES: Final = {
    "hex escape": "a string has half of a surrogate pair, or an escape that is cut off",
    "surrogate": "a string has half of a surrogate pair",
    "recursion limit": "it is nested too deeply",
    "number out of range": "a number is too long",
}
"""Plain words for parser errors about valid JSON that Python cannot represent."""
_NO_OBJECT: Final = "A message must be a JSON object."
_ANSWERS: Final = frozenset({"result", "error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A line that is not a valid message.

    Attributes:
        code: The JSON-RPC error code.
        why: What is wrong with the line, and what is allowed.
        ids: The ids of the requests in the line, as written there.
    """

    code: int
    why: str
    ids: tuple[bytes, ...] = ()

    def replies(self) -> list[bytes]:
        """Return one error line for each request in it; none if no id can be read."""
        error = json.dumps({"code": self.code, "message": self.why}).encode()
        return [b'{"jsonrpc":"2.0","id":' + each + b',"error":' + error + b"}\n" for each in self.ids]


def read_message(line: bytes) -> JSONRPCMessage | Unreadable | None:
    """Parse one line; None if it is empty. A leading byte order mark is ignored."""
    line = line.removeprefix(codecs.BOM_UTF8).strip()
    if not line:
        return None
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError as error:
        return _unreadable(line, error)
    if isinstance(message, JSONRPCRequest):
        return message
    return _misread(line, message) or message


def _misread(line: bytes, message: JSONRPCMessage) -> Unreadable | None:
    """Detect a request that was parsed as something else, because of its id or its other fields."""
    if isinstance(message, JSONRPCNotification):
        if b"id" not in line and b"\\u" not in line:
            return None
        [members] = _objects(line)
        if "id" not in members:
            return None
        return Unreadable(code=INVALID_REQUEST, why="id must be a string or an integer.", ids=_ids([members]))
    [members] = _objects(line)
    if "method" not in members:
        return None
    return Unreadable(
        code=INVALID_REQUEST, why="A request must not have a result or an error.", ids=_ids([members])
    )


def _unreadable(line: bytes, error: ValidationError) -> Unreadable:
    objects = _objects(line)
    ids = _ids(objects)
    if problem := _encoding_problem(line, error):
        return Unreadable(code=PARSE_ERROR, why=f"The message {problem}.", ids=ids)
    if line.startswith(b"["):
        why = "JSON-RPC batches are not supported. Send each message on a line of its own."
        return Unreadable(code=INVALID_REQUEST, why=why, ids=ids)
    code, why = _problem(error) if line.startswith(b"{") else (INVALID_REQUEST, _NO_OBJECT)
    return Unreadable(code=code, why=why, ids=ids)


def _encoding_problem(line: bytes, error: ValidationError) -> str:
    """Say why a line is not JSON in UTF-8; "" if it is."""
    try:
        line.decode()
    except UnicodeDecodeError as cause:
        return f"is not UTF-8 (byte {cause.start + 1})"
    [first, *_] = error.errors(include_url=False, include_input=False)
    if first["type"] != "json_invalid":
        return ""
    cause = str(first.get("ctx", {}).get("error", first["msg"]))
    return "cannot be read as JSON: " + next((why for sign, why in _CAUSES.items() if sign in cause), cause)


def _problem(error: ValidationError) -> tuple[int, str]:
    """Return the code and the text of the first thing that keeps JSON from being a request."""
    wrong = {
        str(each["loc"][1])
        for each in error.errors(include_url=False, include_input=False)
        if each["loc"][0] == JSONRPCRequest.__name__ and len(each["loc"]) > 1
    }
    if "jsonrpc" in wrong:
        return INVALID_REQUEST, 'jsonrpc must be "2.0".'
    if "method" in wrong:
        return INVALID_REQUEST, "A request needs a method, which is a string."
    if "params" in wrong:
        return INVALID_PARAMS, "params must be an object."
    return INVALID_REQUEST, "The message is not a JSON-RPC 2.0 request."


def _objects(line: bytes) -> list[dict[str, bytes]]:
    """Return the members of a message, or of each message in a batch; values that are not scalars are empty.

    It accepts what parsers refuse: nesting of any depth, numbers of any length, strings of any content.
    """
    level, depth = 2 if line.startswith(b"[") else 1, 0
    members: list[list[bytes]] = []
    for match in _TOKEN.finditer(line):
        token = match[0]
        depth -= token in b"}]"
        if depth == level and members:
            members[-1].append(token)
        depth += token in b"{["
        if depth == level and token == b"{":
            members.append([])
    return [_members(tokens) for tokens in members]


def _members(tokens: list[bytes]) -> dict[str, bytes]:
    """Return the members of an object from its own tokens, without those inside its values."""
    found: dict[str, bytes] = {}
    for name, colon, value in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if colon == b":" and name.startswith(b'"'):
            found[_name(name)] = b"" if value in b"{[" else value
    return found


def _name(token: bytes) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return token.decode(errors="replace")


def _ids(objects: list[dict[str, bytes]]) -> tuple[bytes, ...]:
    """Return the ids that can be answered; a host's own answer is not answered."""
    return tuple(
        each["id"]
        for each in objects
        if _is_id(each.get("id", b"")) and ("method" in each or not each.keys() & _ANSWERS)
    )


def _is_id(token: bytes) -> bool:
    if _NUMBER.fullmatch(token):
        return True
    try:
        return isinstance(json.loads(token), str)
    except ValueError:
        return False
