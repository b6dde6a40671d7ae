"""Refusals: the error that a server's error reply means, whichever of its shapes it comes in.

vLLM-Omni writes `{"error": {"message": ...}}`, the same with `request_id`, `{"error": "Unauthorized"}`
and the framework's `{"detail": ...}`; a proxy before it writes HTML.
"""

import re
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import urlsplit

from pydantic_core import from_json

from vllm_omni_client._retry_after import retry_after_seconds
from vllm_omni_client._text import printable
from vllm_omni_client.errors import (
    MESSAGE_LIMIT,
    BadRequest,
    EngineDead,
    Exchange,
    GpuSpent,
    ModelChanged,
    NotFound,
    OutOfGpuMemory,
    ServerBusy,
    ServerError,
    ServerRefused,
    Unauthorized,
)

# How many characters of a foreign body, and of a name, are shown.
_SHOWN: Final = 200
_SHOWN_DETAILS: Final = 3
_SHOWN_NAME: Final = 128
_TAG: Final = re.compile(rb"(?is)<(script|style)\b.{0,4000}?</\1>|<[^>]{0,400}>")
_OUT_OF_MEMORY: Final = re.compile(r"out of memory", re.IGNORECASE)
# 0.30.0 has no one text for this; where none of these stands in the message, `/health` is asked.
_ENGINE_DEAD: Final = re.compile(
    r"EngineDead|EngineCore encountered an issue|no (?:live|alive|healthy) replica|"
    r"\b(?:engine|orchestrator|stage|worker|replica|process)\b.{0,60}\b(?:is dead|died|no longer alive)\b",
    re.IGNORECASE,
)
# The same words in 0.20, 0.26 and 0.30; 0.14 does not mind another name.
_OTHER_MODEL: Final = re.compile(
    r"Model mismatch: request specifies '(?P<requested>.*)' but server is running '(?P<served>.*)'"
)
_REDIRECTS: Final = range(300, 400)
_SERVER_FAULTS: Final = range(500, 600)
_CLASSES: Final[Mapping[int, type[ServerRefused]]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    405: BadRequest,
    413: BadRequest,
    415: BadRequest,
    422: BadRequest,
}
_BUSY: Final = frozenset({429, 502, 503})
# A gateway that gave up waiting does not know; one that cannot do a thing has not done it.
_GPU_SPENT: Final[Mapping[int, GpuSpent]] = {501: "no", 504: "unknown"}


def refusal(headers: Mapping[str, str], content: bytes, *, exchange: Exchange, status: int) -> ServerRefused:
    """Return the error that a status of 300 and above means."""
    if status in _REDIRECTS:
        return ServerRefused(_redirect(status, headers), status=status, exchange=exchange)
    text = told(content)
    message = (
        f"the server answered {status}: {text}" if text else f"the server answered {status}{excerpt(content)}"
    )
    if status in _SERVER_FAULTS and _ENGINE_DEAD.search(text):
        return EngineDead(message, status=status, exchange=exchange)
    if status in _BUSY:
        wait = retry_after_seconds(headers)
        return ServerBusy(message, status=status, retry_after_seconds=wait, exchange=exchange)
    if status in _SERVER_FAULTS:
        fault = OutOfGpuMemory if _OUT_OF_MEMORY.search(text) else ServerError
        return fault(message, status=status, exchange=exchange, gpu_spent=_GPU_SPENT.get(status))
    kind = _CLASSES.get(status, ServerRefused)
    if kind is BadRequest and (other := _OTHER_MODEL.search(text)):
        return ModelChanged(
            message,
            status=status,
            requested=other["requested"],
            served=(other["served"],),
            exchange=exchange,
        )
    return kind(message, status=status, exchange=exchange)


def told(content: bytes) -> str:
    """Return the message of an error body in any of the server's shapes; empty when there is none."""
    body = _json(content)
    error = _member(body, "error")
    candidates = (
        _member(error, "message"),
        error,
        _detail(_member(body, "detail")),
        _member(body, "message"),
    )
    texts = (printable(text, limit=MESSAGE_LIMIT) for text in candidates if isinstance(text, str))
    return next((text for text in texts if text), "")


def request_id(headers: Mapping[str, str], content: bytes) -> str | None:
    """Return the server's name for the request: from its error body, or from its header."""
    name = _member(_member(_json(content), "error"), "request_id")
    text = name if isinstance(name, str) else headers.get("x-request-id", "")
    return printable(text, limit=_SHOWN_NAME) or None


def excerpt(content: bytes) -> str:
    """Return the beginning of a foreign body, made safe to show, as the end of a sentence."""
    start = content[: 16 * 1024]
    readable = _TAG.sub(b" ", start) if start.lstrip()[:1] == b"<" else start
    text = printable(readable.decode(errors="ignore"), limit=_SHOWN)
    return f": {text!r}" if text else ", without a readable body"


def _redirect(status: int, headers: Mapping[str, str]) -> str:
    """Name the host that a redirect leads to, and nothing else of its address."""
    location = headers.get("location", "")
    try:
        host = urlsplit(location).hostname or ("itself" if location else "nowhere")
    except ValueError:
        host = "an address that cannot be read"
    return f"the server answered {status}, a redirect to {host}, which is not followed; is base_url right?"


def _json(content: bytes) -> object:
    try:
        return cast("object", from_json(content))
    except ValueError:
        return None


def _member(value: object, name: str) -> object:
    return cast("dict[object, object]", value).get(name) if isinstance(value, dict) else None


def _detail(detail: object) -> object:
    """Write FastAPI's list of complaints as one text; anything else stays as it is."""
    if not isinstance(detail, list):
        return detail
    complaints = cast("list[object]", detail)[:_SHOWN_DETAILS]
    return "; ".join(f"{_place(_member(one, 'loc'))}: {_member(one, 'msg')}" for one in complaints)


def _place(loc: object) -> str:
    return ".".join(str(part) for part in cast("list[object]", loc)) if isinstance(loc, list) else "?"
