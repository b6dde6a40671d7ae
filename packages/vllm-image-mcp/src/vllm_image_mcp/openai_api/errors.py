"""Write errors as the OpenAI API does: a status, a type, a code, the parameter and a message."""

from __future__ import annotations

import math
import time
from typing import Final

from starlette.responses import JSONResponse
from vllm_image_core.errors import ImageError, InvalidRequest, LimitReached
from vllm_image_core.text import message_of
from vllm_omni_client.errors import BadRequest, OmniError, OutOfGpuMemory, ServerBusy, ServerUnreachable

from vllm_image_mcp.openai_api.translation import UnknownModel

_NO_RETRY: Final = {"x-should-retry": "false"}
"""Keeps OpenAI's SDK from sending a request again that may have cost GPU time, or that would fail again."""

_SOON_SECONDS: Final = 60
"""How long OpenAI's SDK is willing to wait."""


def error_reply(error: Exception) -> JSONResponse:
    """Return the reply for an error; for a bug, it gives no details, which are in the log."""
    headers: dict[str, str] = _NO_RETRY
    parameter: str | None = None
    match error:
        case InvalidRequest():
            status, kind, code, parameter = 400, "invalid_request_error", "invalid_value", error.parameter
        case UnknownModel():
            status, kind, code, parameter = 404, "invalid_request_error", "model_not_found", "model"
        case LimitReached():
            status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"
            headers = _until(error)
        case OutOfGpuMemory():
            status, kind, code = 500, "server_error", "out_of_memory"
        case BadRequest():
            status, kind, code = 400, "invalid_request_error", "invalid_value"
        case ServerUnreachable() | ServerBusy():
            status, kind, code = 503, "server_error", "server_unavailable"
        case OmniError():
            status, kind, code = 502, "server_error", "bad_gateway"
        case ImageError():
            status, kind, code = 500, "server_error", "server_error"
        case _:
            return reply(500, "The server had an error; see its log.", kind="server_error", headers=headers)
    text = " ".join(part for part in (message_of(error), getattr(error, "next_step", "")) if part)
    return reply(status, text, kind=kind, code=code, parameter=parameter, headers=headers)


def reply(
    status: int,
    message: str,
    *,
    kind: str,
    code: str | None = None,
    parameter: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Return an error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": parameter, "code": code}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


def _until(error: LimitReached) -> dict[str, str]:
    if error.free_at is None:
        return _NO_RETRY
    seconds = max(1, math.ceil(error.free_at.timestamp() - time.time()))
    return {"retry-after": str(seconds), **(_NO_RETRY if seconds > _SOON_SECONDS else {})}
