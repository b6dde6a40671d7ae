"""Turn an error reply of any format into the matching exception.

vLLM-Omni sends `{"error": {"message": ...}}`, the same with `request_id`, `{"error": "Unauthorized"}` and the
framework's `{"detail": ...}`; a proxy in front of it sends HTML.
"""

import re
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import urlsplit

from pydantic_core import from_json

from vllm_omni_client._protocol.retry_after import retry_after_seconds
from vllm_omni_client._text import printable
from vllm_omni_client.errors import (
    MESSAGE_LIMIT,
    BadRequest,
    EngineDead,
    Exchange,
    LoraNotLoaded,
    ModelChanged,
    NotFound,
    OutOfGpuMemory,
    ServerBusy,
    ServerError,
    ServerRefused,
    Unauthorized,
)

# How many characters of an untrusted body, and of a name, are shown.
_SHOWN: Final = 200
_SHOWN_DETAILS: Final = 3
_SHOWN_NAME: Final = 128
_TAG: Final = re.compile(rb"(?is)<(script|style)\b.{0,4000}?</\1>|<[^>]{0,400}>")
# The wording of PyTorch for CUDA, HIP, XPU, NPU (Ascend), MPS and the CPU, and of the libraries below it:
# cuBLAS, cuDNN, cuFFT, hipBLAS, rocBLAS, MIOpen, Level Zero (XPU), CANN (NPU), XLA, malloc and NumPy.
_OUT_OF_MEMORY: Final = re.compile(
    r"out[ _-]?of[ _-]?(?:\w{1,8}[ _-])?memory|_ALLOC_FAILED|StatusAllocFailed|DefaultCPUAllocator|"
    r"status_memory_error|ErrorMemoryAllocation|_MEMORY_ALLOCATION|ERROR_OUT_OF_RESOURCES|"
    r"\b(?:can(?:no|')t|could not|unable to|failed to|fail to) allocate\b"
    r".{0,60}(?:memory|\d ?(?:[KMGT]i?)?B\b|bytes)|"
    r"(?:not enough|insufficient) (?:\w{1,8} )?memory|(?:memory allocation|malloc\w*) fail|"
    r"exceeds? allowed memory|bad_alloc|\b_?(?:Array)?MemoryError\b",
    re.IGNORECASE,
)
# Wording that is unlikely to appear in a prompt or name that an error message repeats.
_SURELY_OUT_OF_MEMORY: Final = re.compile(
    r"\b(?:CUDA|HIP|XPU|NPU|MPS|GPU)\b.{0,20}\bout of memory|OutOfMemoryError|_STATUS_ALLOC_FAILED|"
    r"DefaultCPUAllocator"
)
# 0.30.0 has no single wording for this; if none of these matches, the client asks `/health`.
_ENGINE_DEAD: Final = re.compile(
    r"EngineDead|EngineCore encountered an issue|no (?:live|alive|healthy) replica|"
    r"\b(?:engine|orchestrator|stage|worker|replica|process)\b.{0,60}\b(?:is dead|died|no longer alive)\b|"
    r"\bexecutor is closed\b",
    re.IGNORECASE,
)
# What vLLM-Omni, PEFT and huggingface_hub say about an adapter that is missing or does not fit the model.
_ABOUT_LORA: Final = re.compile(
    r"\blora|adapter|\bpeft\b|snapshot folder|repository (?:not found|id)|repo[_ ]id|"
    r"not a valid model identifier|\bsafetensors\b|"
    # 0.30.0 hides the path, but a loaded model reads no other file.
    r"No such file or directory|Not a directory|Permission denied|File name too long|embedded null byte",
    re.IGNORECASE,
)
# The same wording in 0.20, 0.26 and 0.30; 0.14 accepts any name.
_OTHER_MODEL: Final = re.compile(
    r"Model mismatch: request specifies '(?P<requested>.*)' but server is running '(?P<served>.*)'"
)
_TEXT_BYTES: Final = 16 * 1024
# How PNG, JPEG, GIF, WebP, ZIP and gzip data begins: none of it is worth showing.
_BINARY: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"PK\x03\x04", b"\x1f\x8b")
_REDIRECTS: Final = range(300, 400)
_SERVER_FAULTS: Final = range(500, 600)
_CLASSES: Final[Mapping[int, type[ServerRefused]]] = {
    **dict.fromkeys((400, 405, 413, 415, 422), BadRequest),
    **dict.fromkeys((401, 403), Unauthorized),
    404: NotFound,
}
_BUSY: Final = frozenset({429, 502, 503})
_BAD_REQUEST: Final = 400
_ERRORS: Final = range(400, 600)


def reply_error(
    headers: Mapping[str, str], content: bytes, *, exchange: Exchange, status: int, lora: str | None = None
) -> ServerRefused:
    """Return the error for a status of 300 or above; `lora` is the path of the request's adapter."""
    if status in _REDIRECTS:
        return ServerRefused(_redirect(status, headers), status=status, exchange=exchange)
    text = error_message(content)
    message = (
        f"the server answered {status}: {text}" if text else f"the server answered {status}{excerpt(content)}"
    )
    if (error_class := _class_by_text(text or _plain_text(content), status)) is not None:
        return error_class(message, status=status, exchange=exchange)
    by_proxy = not _is_from_server(content)
    if status in _BUSY:
        wait = retry_after_seconds(headers)
        return ServerBusy(
            message, status=status, retry_after_seconds=wait, exchange=exchange, by_proxy=by_proxy
        )
    if status in _SERVER_FAULTS:
        return (
            ServerError(message, status=status, exchange=exchange, by_proxy=by_proxy)
            if lora is None or not _ABOUT_LORA.search(text)
            else LoraNotLoaded(message, status=status, lora=lora, exchange=exchange)
        )
    kind = _CLASSES.get(status, ServerRefused)
    if kind is BadRequest and (other := _OTHER_MODEL.search(text)):
        return ModelChanged(
            message,
            status=status,
            requested=other["requested"],
            served=(other["served"],),
            exchange=exchange,
        )
    return kind(message, status=status, exchange=exchange, by_proxy=by_proxy)


def failure_within(content: bytes, *, exchange: Exchange) -> ServerRefused | None:
    """Return the error that the body of a success reports; None if it does not clearly report one.

    Some servers and proxies answer 200 and put the error, often with its status as `code`, into the body.
    """
    text = error_message(content)
    code = _member(_member(_json(content), "error"), "code")
    status = int(code) if isinstance(code, int | str) and str(code).isdecimal() else 0
    message = f"the server answered {exchange.status}, but the body contains an error: {text}"
    if not text:
        return None
    if (error_class := _class_by_text(text, _SERVER_FAULTS.start)) is not None:
        return error_class(message, status=exchange.status or 0, exchange=exchange)
    if status not in _ERRORS:
        return None
    error = reply_error({}, content, exchange=exchange, status=status)
    error.message, error.args = printable(message, limit=MESSAGE_LIMIT), (message[:MESSAGE_LIMIT],)
    return error


def _class_by_text(text: str, status: int) -> type[ServerError] | None:
    """Return the error class that the text alone identifies, whatever its status would mean."""
    if status == _BAD_REQUEST:
        return OutOfGpuMemory if _SURELY_OUT_OF_MEMORY.search(text) else None
    if status not in _SERVER_FAULTS:
        return None
    if _ENGINE_DEAD.search(text):
        return EngineDead
    return OutOfGpuMemory if _OUT_OF_MEMORY.search(text) else None


def _is_from_server(content: bytes) -> bool:
    """Say whether an error body has one of the formats of vLLM-Omni and its framework."""
    body = _json(content)
    return isinstance(body, dict) and not {"error", "detail"}.isdisjoint(cast("dict[str, object]", body))


def _plain_text(content: bytes) -> str:
    """Return a plain-text body, such as a server without JSON sends; empty for an HTML page."""
    return "" if content.lstrip()[:1] == b"<" else content[:_TEXT_BYTES].decode(errors="ignore")


def error_message(content: bytes) -> str:
    """Return the message of an error body in any of the server's formats; empty if there is none."""
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
    """Return the server's ID of the request, from the error body or the header."""
    name = _member(_member(_json(content), "error"), "request_id")
    text = name if isinstance(name, str) else headers.get("x-request-id", "")
    return printable(text, limit=_SHOWN_NAME) or None


def excerpt(content: bytes) -> str:
    """Return the beginning of an untrusted body, made safe to show, as the end of a sentence."""
    start = content[: 16 * 1024]
    if start.startswith(_BINARY):
        return f", with {len(content):,} bytes of an image or an archive instead"
    readable = _TAG.sub(b" ", start) if start.lstrip()[:1] == b"<" else start
    text = printable(readable.decode(errors="ignore"), limit=_SHOWN)
    return f": {text!r}" if text else ", without a readable body"


def _redirect(status: int, headers: Mapping[str, str]) -> str:
    """Describe a redirect by its target host, without the rest of the URL."""
    location = headers.get("location", "")
    try:
        host = urlsplit(location).hostname or ("another path" if location else "nowhere")
    except ValueError:
        host = "an invalid address"
    return f"the server answered {status}, a redirect to {host}, which is not followed"


def _json(content: bytes) -> object:
    try:
        return cast("object", from_json(content))
    except ValueError:
        return None


def _member(value: object, name: str) -> object:
    return cast("dict[object, object]", value).get(name) if isinstance(value, dict) else None


def _detail(detail: object) -> object:
    """Join FastAPI's list of validation errors into one string; return anything else unchanged."""
    if not isinstance(detail, list):
        return detail
    errors = cast("list[object]", detail)[:_SHOWN_DETAILS]
    return "; ".join(f"{_location(_member(one, 'loc'))}: {_member(one, 'msg')}" for one in errors)


def _location(loc: object) -> str:
    return ".".join(str(part) for part in cast("list[object]", loc)) if isinstance(loc, list) else "?"
