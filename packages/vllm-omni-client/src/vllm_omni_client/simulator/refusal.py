"""The server's error bodies, and the one exception that carries them to the reply."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import JSONResponse

_MAX_ERRORS = 10
_MAX_INPUT_CHARS = 200
_MAX_ERROR_CHARS = 1000
"""The server's own bounds on what it repeats of a bad request (vllm 0.30.0)."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+>")
_FRAME = re.compile(r'\n?\s*File "[^"]+", line \d+, in \S+(\n\s+.*)?')
_PATHS = (
    re.compile(r"/(?:home|usr|opt|var|tmp|root|lib|mnt|srv)(?:/[\w.\-]+)+"),
    re.compile(r"(?:/[\w\-]+)+/[\w\-]+\.\w+"),
)


class Refusal(Exception):
    """A request ends with this status and message instead of a picture."""

    def __init__(
        self, status: HTTPStatus, message: str, *, param: str | None = None, kind: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.kind = kind or status.phrase

    def response(self) -> JSONResponse:
        """The reply; a message that cannot be encoded gives way to the reason, as on the server."""
        try:
            return JSONResponse(self._body(sanitised(self.message)), status_code=self.status)
        except UnicodeEncodeError as error:
            return Refusal(HTTPStatus.BAD_REQUEST, str(error), kind="BadRequestError").response()

    def _body(self, message: str) -> Mapping[str, object]:
        error = {"message": message, "type": self.kind, "param": self.param, "code": int(self.status)}
        return {"error": error}


def validation_refusal(errors: Sequence[Mapping[str, object] | str]) -> Refusal:
    """The refusal of a request that broke the schema: an error a line, the first one's place as `param`."""
    label = "error" if len(errors) == 1 else "errors"
    lines = [f"{len(errors)} validation {label}:", *(f"  {_line(error)}" for error in errors[:_MAX_ERRORS])]
    if len(errors) > _MAX_ERRORS:
        lines.append(f"  ...and {len(errors) - _MAX_ERRORS} more {label}")
    first = errors[0]
    param = None if isinstance(first, str) else _place(first)
    return Refusal(HTTPStatus.BAD_REQUEST, "\n".join(lines), param=param)


def sanitised(message: str) -> str:
    """The message without file paths, memory addresses and stack frames, as the server sends it."""
    message = _FRAME.sub("", _ADDRESS.sub(">", message))
    for path in _PATHS:
        message = path.sub("<path>", message)
    return message.strip()


def _place(error: Mapping[str, object]) -> str:
    place = error.get("loc")
    return ".".join(str(part) for part in place) if isinstance(place, tuple) else ""  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - a tuple of names and numbers


def _line(error: Mapping[str, object] | str) -> str:
    if isinstance(error, str):
        return error
    shown = dict(error) | {"loc": _place(error)}
    if "input" in error:
        shown["input"] = _shown_input(error["input"])
    text = str(shown)
    return text if len(text) <= _MAX_ERROR_CHARS else text[:_MAX_ERROR_CHARS] + "...[truncated]"


def _shown_input(value: object) -> str:
    """The offending value, described rather than repeated where it is a container, cut where it is long."""
    if isinstance(value, list | dict):
        return f"<{type(value).__name__} of {len(value)} items>"  # pyright: ignore[reportUnknownArgumentType] - JSON
    text = str(value)
    return text if len(text) <= _MAX_INPUT_CHARS else text[:_MAX_INPUT_CHARS] + "...[truncated]"
