"""Calls: each endpoint of the server as a value, and how to read what comes back. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from vllm_omni_client import metrics
from vllm_omni_client._refusal import excerpt, refusal, request_id, told
from vllm_omni_client.errors import BadReply, Exchange
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

_OK: Final = 200
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """What to send, and how to read what comes back.

    Attributes:
        method: The HTTP method.
        path: The route, from the slash on.
        decode: Reads the body of a 200; raises ValueError when it is not what was promised.
        body: What to send as JSON.
        answers: Statuses other than 200 that are answers too, and what they mean.
        max_bytes: A longer reply is refused while it is read.
        at_most_seconds: A deadline shorter than the client's own, for what has to answer at once.
        retried: Whether a failure may be followed by another attempt.
        repeatable: Whether sending it twice gives the same answer: a GET, or a generation with a seed.
    """

    method: Literal["GET", "POST"]
    path: str
    decode: Callable[[bytes], T]
    body: ImageGenerationRequest | None = None
    answers: Mapping[int, T] = field(default_factory=dict[int, T])
    max_bytes: int = _MIB
    at_most_seconds: float = 30.0
    retried: bool = True
    repeatable: bool = True

    @property
    def content(self) -> bytes | None:
        """The body to send; None for none."""
        return None if self.body is None else self.body.to_json()

    @property
    def headers(self) -> dict[str, str]:
        """What the body asks for in headers."""
        return {} if self.body is None else {"content-type": "application/json"}


def generate(request: ImageGenerationRequest) -> Call[ImageGenerationReply]:
    """`POST /v1/images/generations`; repeatable with a seed only."""
    return Call(
        method="POST",
        path="/v1/images/generations",
        decode=_json(ImageGenerationReply),
        body=request,
        max_bytes=256 * _MIB,
        at_most_seconds=float("inf"),
        repeatable=request.seed is not None,
    )


def models() -> Call[ModelList]:
    """`GET /v1/models`."""
    return Call(method="GET", path="/v1/models", decode=_json(ModelList))


def health() -> Call[bool]:
    """`GET /health`: asked once; 200 is True, 503 is False."""
    return Call(
        method="GET",
        path="/health",
        decode=lambda _: True,
        answers={503: False},
        at_most_seconds=10.0,
        retried=False,
    )


def version() -> Call[str]:
    """`GET /version`: vLLM's version, whose first two numbers are those of vLLM-Omni."""
    return Call(method="GET", path="/version", decode=lambda content: _json(_Version)(content).version)


def server_metrics() -> Call[ServerMetrics]:
    """`GET /metrics`; a server without this route tells nothing."""
    return Call(
        method="GET",
        path="/metrics",
        decode=lambda content: metrics.parse(content.decode()),
        answers={404: ServerMetrics()},
        max_bytes=16 * _MIB,
    )


class _Version(BaseModel):
    """The reply to `GET /version`."""

    version: str = Field(min_length=1, max_length=200)


def _json(model: type[Model]) -> Callable[[bytes], Model]:
    return model.model_validate_json


def read(call: Call[T], status: int, headers: Mapping[str, str], content: bytes) -> T:
    """Return the value, or raise the error that the reply means.

    Args:
        call: What was asked.
        status: The HTTP status.
        headers: The reply's headers, their names in lower case.
        content: The whole body, as it came.

    Raises:
        ServerRefused: An error status, or a redirect.
        BadReply: A success whose body is not what the contract promises.
    """
    if status in call.answers:
        return call.answers[status]
    exchange = Exchange(
        method=call.method, url=call.path, status=status, request_id=request_id(headers, content)
    )
    if status >= 300:  # noqa: PLR2004  # redirects, and every error after them
        raise refusal(headers, content, exchange=exchange, status=status)
    if status != _OK:
        raise BadReply(
            f"the server answered {status}, where 200 was expected{excerpt(content)}", exchange=exchange
        )
    try:
        return call.decode(content)
    except ValueError as error:
        wrong = _what_is_wrong(content, error)
    # Raised out here, so that no chained error keeps megabytes of a foreign body.
    raise BadReply(f"the server answered 200, but {wrong}", exchange=exchange)


def _what_is_wrong(content: bytes, error: ValueError) -> str:
    if text := told(content):
        return f"with an error inside: {text}"
    if not isinstance(error, ValidationError):
        return f"with text that is not UTF-8{excerpt(content)}"
    complaint = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if complaint["type"] == "json_invalid":
        return f"not with whole JSON{excerpt(content)}"
    where = ".".join(str(part) for part in complaint["loc"]) or "the body"
    return f"{where} is not right: {complaint['msg'].removeprefix('Value error, ')}"
