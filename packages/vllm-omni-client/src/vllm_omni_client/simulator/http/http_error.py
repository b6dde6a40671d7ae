"""Build the server's error bodies, and carry them to the reply in exceptions."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import cast

from starlette.responses import JSONResponse

from vllm_omni_client.simulator.http.release import Release

_MAX_ERRORS = 10
_MAX_INPUT_CHARS = 200
_MAX_ERROR_CHARS = 1000
"""The server's own limits on how much of a bad request it repeats (vllm 0.30.0)."""
_PACKAGES = "/usr/local/lib/python3.12/dist-packages"
_BRACKET = re.compile(r"[\[\]{}()]")
_KINDS = frozenset(
    (
        *("function-wrap", "function-after", "function-before", "function-plain", "json-or-python"),
        *("lax-or-strict", "chain", "default", "nullable", "tagged-union", "union", "call", "arguments"),
        *("is-instance", "is-subclass", "callable", "str", "int", "float", "bool", "bytes", "bytearray"),
        *("list", "tuple", "dict", "set", "frozenset", "complex", "none", "nonetype"),
    )
)
"""Parts of an error's place that are schema types instead of field names (vllm 0.26.0 and later)."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+>")
_FRAME = re.compile(r'\n?\s*File "[^"]+", line \d+, in \S+(\n\s+.*)?')
_PATHS = (
    re.compile(r"/(?:home|usr|opt|var|tmp|root|lib|mnt|srv)(?:/[\w.\-]+)+"),
    re.compile(r"(?:/[\w\-]+)+/[\w\-]+\.\w+"),
)


class HttpError(Exception):
    """An error reply: the request ends with this status and message instead of an image."""

    def __init__(
        self, status: HTTPStatus, message: str, *, param: str | None = None, kind: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.kind: str = kind or status.phrase
        self.is_plain: bool = kind is not None
        """Whether the server builds the error without its framework; its message is then sent unchanged."""

    def response(self, release: Release, *, path: str = "", method: str = "POST") -> JSONResponse:
        """Build the reply; if the message cannot be encoded, the reply gives the reason, as on the server.

        Args:
            release: The release whose wording to use.
            path: The route's path, for messages that mention it.
            method: The route's method, likewise.
        """
        try:
            return JSONResponse(self._body(release, f"{method} {path}"), status_code=self.status)
        except UnicodeEncodeError as error:
            return HttpError(HTTPStatus.BAD_REQUEST, str(error), kind="BadRequestError").response(release)

    def _body(self, release: Release, route: str) -> Mapping[str, object]:
        message = self.message_for(release, route)
        if not self.is_plain:
            message = sanitise(message) if release.hides_paths else _ADDRESS.sub(">", message)
        param = self.parameter_name(release)
        error = {"message": message, "type": self.kind, "param": param, "code": int(self.status)}
        return {"error": error}

    def parameter_name(self, release: Release) -> str | None:
        """Return the parameter's name if the release reports it."""
        return self.param if release.names_params else None

    def message_for(self, release: Release, route: str) -> str:  # noqa: ARG002 - subclasses use them
        """Return the message as a release words it."""
        return self.message


class Crash(HttpError):
    """An unhandled exception in the server's code; the reply to it has no CORS headers."""

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus.INTERNAL_SERVER_ERROR, message, kind="InternalServerError")


class RequestValidationError(HttpError):
    """A request that does not fit the schema: one line per error, and the first error's place as `param`."""

    def __init__(self, errors: Sequence[Mapping[str, object] | str]) -> None:
        first = errors[0]
        param = None if isinstance(first, str) else _place(first)
        super().__init__(HTTPStatus.BAD_REQUEST, "", param=param)
        self.errors = errors

    def parameter_name(self, release: Release) -> str | None:
        """Return the parameter's name if the release reports it."""
        first = self.errors[0]
        if release.cleans_params or not release.names_params or isinstance(first, str):
            return super().parameter_name(release)
        return _place(first, clean=False)

    def with_full_input(self, read: object, given: object) -> "RequestValidationError":
        """Return the same error with `given` as the input wherever it reports `read`, a part of it."""
        errors = [
            {**error, "input": given}
            if not isinstance(error, str) and "input" in error and error["input"] is read
            else error
            for error in self.errors
        ]
        return RequestValidationError(errors)

    def message_for(self, release: Release, route: str) -> str:
        """Return the message as a release words it."""
        label = "error" if len(self.errors) == 1 else "errors"
        head = f"{len(self.errors)} validation {label}:"
        full = "\n".join([head, *(f"  {error}" for error in self.errors)])
        match release.validation_errors:
            case "short":
                lines = [head, *(f"  {_line(error)}" for error in self.errors[:_MAX_ERRORS])]
                if len(self.errors) > _MAX_ERRORS:
                    lines.append(f"  ...and {len(self.errors) - _MAX_ERRORS} more {label}")
                return "\n".join(lines)
            case "full":
                return full
            case "twice":
                # The server's own checks, unlike the framework's, report no place in the code.
                place = "" if isinstance(self.errors[0], str) else _code_place(release, route)
                return f"{full}{place} {list(self.errors)}"


def _code_place(release: Release, route: str) -> str:
    """Return the place in the server's code that the framework reports for the error."""
    place = release.code_places.get(route)
    if place is None:
        return ""
    return f'\n\n  File "{_PACKAGES}/{place.file}", line {place.line}, in {place.function}\n    {route}'


def sanitise(message: str) -> str:
    """Remove file paths, memory addresses and stack frames from the message, as the server does."""
    message = _FRAME.sub("", _ADDRESS.sub(">", message))
    for path in _PATHS:
        message = path.sub("<path>", message)
    return message.strip()


def _place(error: Mapping[str, object], *, clean: bool = True) -> str:
    """Return the error's place as field names joined by dots, without the parts that belong to the schema."""
    place = error.get("loc")
    parts = [str(part) for part in cast("tuple[object, ...]", place)] if isinstance(place, tuple) else []
    named = [part for part in parts if not (_BRACKET.search(part) or part.lower() in _KINDS)]
    return ".".join(named if clean and named else parts)


def _line(error: Mapping[str, object] | str) -> str:
    if isinstance(error, str):
        return error
    shown = dict(error) | {"loc": _place(error)}
    if "input" in error:
        shown["input"] = _describe_input(error["input"])
    text = str(shown)
    return text if len(text) <= _MAX_ERROR_CHARS else text[:_MAX_ERROR_CHARS] + "...[truncated]"


def _describe_input(value: object) -> str:
    """Describe the invalid value: a container by its size, and a long string cut off."""
    if isinstance(value, list | dict | bytes):
        unit = "bytes" if isinstance(value, bytes) else "items"
        return f"<{type(value).__name__} of {len(value)} {unit}>"  # pyright: ignore[reportUnknownArgumentType] - JSON
    text = str(value)
    return text if len(text) <= _MAX_INPUT_CHARS else text[:_MAX_INPUT_CHARS] + "...[truncated]"
