"""Describe each server endpoint as a Call, and read its replies. No I/O."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from vllm_omni_client import metrics
from vllm_omni_client._imaging.archive import unpack_images
from vllm_omni_client._imaging.picture import DamagedPicture, inspect, most_pixels, pixels_of
from vllm_omni_client._protocol.error_reply import (
    error_message,
    excerpt,
    failure_within,
    reply_error,
    request_id,
)
from vllm_omni_client._protocol.multipart import multipart
from vllm_omni_client._protocol.picture_file import PictureFile, ReceivedFile
from vllm_omni_client._protocol.picture_memory import PictureMemory
from vllm_omni_client.capabilities import EDITS_PATH, GENERATIONS_PATH, SLEEP_PATH, WAKE_UP_PATH
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import BadReply, Exchange
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList, ReplyImage
from vllm_omni_client.uploads import Upload

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_OK: Final = 200
_BOM: Final = b"\xef\xbb\xbf"
_MIB: Final = 1024 * 1024
# An image with 4 bytes per pixel in base64, plus a margin for models that round a size up.
_BYTES_PER_PIXEL: Final = 4 * 1.4
# Some models always generate 1024x1024; an image that was paid for is not refused because of that.
_LEAST_BYTES: Final = 8 * _MIB
_BYTES_WITHOUT_SIZE: Final = 256 * _MIB
_MOST_BYTES: Final = 1024 * _MIB
_ROUNDED_UP: Final = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T_co]):
    """What to send, and how to read the reply.

    Attributes:
        method: The HTTP method.
        path: The route, with its leading slash.
        decode: Reads the body of a 200; raises ValueError if it breaks the contract.
        content: The body to send; None for none.
        content_type: The type of the body.
        other_answers: Other statuses that are valid answers, with their values.
        max_bytes: Length limit of the reply, enforced while it is read.
        at_most_seconds: A deadline shorter than the client's own, for routes that must answer quickly.
        retried: Whether a failure may be followed by another attempt.
        repeatable: Whether sending it twice gives the same answer: a GET, or a generation with a seed.
        uses_gpu: Whether it is work for the GPU; if so, it waits for one of the client's slots.
        receiver: Receives the body of a 200 as it arrives; `decode` then reads the rest.
        closes_connection: Whether its connection is closed afterwards.
        lora: The path of the adapter that the server has to load for it.
    """

    method: Literal["GET", "POST"]
    path: str
    decode: Callable[[bytes], T_co]
    content: bytes | None = None
    content_type: str = "application/json"
    other_answers: Mapping[int, T_co] = field(default_factory=dict[int, T_co])
    max_bytes: int = _MIB
    at_most_seconds: float = 30.0
    retried: bool = True
    repeatable: bool = True
    uses_gpu: bool = False
    receiver: PictureFile | PictureMemory | None = None
    closes_connection: bool = False
    lora: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of this call."""
        headers = {} if self.content is None else {"content-type": self.content_type}
        return {**headers, "connection": "close"} if self.closes_connection else headers


def generate(
    request: ImageGenerationRequest, file: PictureFile | None = None
) -> Call[ImageGenerationReply | ReceivedFile]:
    """`POST /v1/images/generations`; repeatable only with a seed. A file takes the image as it arrives."""
    as_files = request.response_format == "file"
    decode = _file_decoder(request) if as_files else _json_decoder(request)
    return _image_call(GENERATIONS_PATH, request, decode, content=request.to_json(), file=file)


def edit(
    request: ImageEditRequest, uploads: Sequence[Upload], file: PictureFile | None = None
) -> Call[ImageGenerationReply | ReceivedFile]:
    """`POST /v1/images/edits`; repeatable only with a seed. A file takes the image as it arrives."""
    content_type, content = multipart(request.to_form(), uploads)
    decode = _json_decoder(request)
    return _image_call(EDITS_PATH, request, decode, content=content, content_type=content_type, file=file)


def _image_call(
    path: str,
    request: ImageGenerationRequest | ImageEditRequest,
    decode: Callable[[bytes], ImageGenerationReply],
    *,
    content: bytes,
    content_type: str = "application/json",
    file: PictureFile | None = None,
) -> Call[ImageGenerationReply | ReceivedFile]:
    memory = None
    if file is None and request.n == 1 and request.layers is None:
        memory = PictureMemory(most_pixels=most_pixels(request.size), otherwise=decode)
    return Call(
        method="POST",
        path=path,
        decode=file.receive_rest if file else memory.decode if memory else decode,
        content=content,
        content_type=content_type,
        max_bytes=_most_bytes(request),
        at_most_seconds=float("inf"),
        repeatable=request.seed is not None,
        uses_gpu=True,
        receiver=file or memory,
        lora=None if request.lora is None else request.lora.path,
    )


def image_route(path: str) -> Call[bytes]:
    """A generation or an edit with a seed, before the server is known and with it the content to send."""
    return Call(method="POST", path=path, decode=lambda content: content, at_most_seconds=float("inf"))


def sleep(stage_ids: Sequence[int], level: int) -> Call[bool]:
    """`POST /v1/omni/sleep`: True once the server is asleep."""
    return _power_call(SLEEP_PATH, {"stage_ids": tuple(stage_ids), "level": level})


def wake_up(stage_ids: Sequence[int]) -> Call[bool]:
    """`POST /v1/omni/wakeup`: False if the server was not asleep."""
    return _power_call(WAKE_UP_PATH, {"stage_ids": tuple(stage_ids)})


def _power_call(path: str, body: Mapping[str, object]) -> Call[bool]:
    return Call(
        method="POST",
        path=path,
        decode=lambda content: _PowerReply.model_validate_json(content).status != "SKIPPED",
        content=to_json(body),
        at_most_seconds=float("inf"),
    )


def openapi() -> Call[bytes | None]:
    """`GET /openapi.json`: the server's own description; None if it is hidden."""
    return Call(
        method="GET",
        path="/openapi.json",
        decode=lambda content: content,
        other_answers=dict.fromkeys((401, 403, 404, 405, 501)),
        max_bytes=16 * _MIB,
        at_most_seconds=5.0,
        retried=False,
    )


def models() -> Call[ModelList]:
    """`GET /v1/models`."""
    return Call(method="GET", path="/v1/models", decode=ModelList.model_validate_json)


def health(*, closes_connection: bool = False) -> Call[bool]:
    """`GET /health`, without retries: 200 is True, 503 is False.

    A server in trouble may be closing idle connections; with `closes_connection`, the next request reuses
    none.
    """
    return Call(
        method="GET",
        path="/health",
        decode=lambda _: True,
        other_answers={503: False},
        at_most_seconds=10.0,
        retried=False,
        closes_connection=closes_connection,
    )


def listed() -> Call[bool]:
    """`GET /v1/models`, without retries: whether a server lists a model, if its `/health` is out of reach."""
    return Call(
        method="GET",
        path="/v1/models",
        decode=lambda content: bool(ModelList.model_validate_json(content).data),
        other_answers={503: False},
        at_most_seconds=10.0,
        retried=False,
    )


def version() -> Call[str]:
    """`GET /version`: vLLM's version, whose first two numbers match vLLM-Omni's."""
    return Call(
        method="GET", path="/version", decode=lambda content: _Version.model_validate_json(content).version
    )


def server_metrics() -> Call[ServerMetrics]:
    """`GET /metrics`; a server without this route reports nothing."""
    return Call(
        method="GET",
        path="/metrics",
        decode=lambda content: metrics.parse(content.decode()),
        other_answers={404: ServerMetrics()},
        max_bytes=16 * _MIB,
    )


class _PowerReply(BaseModel):
    """The reply to sleep and wake-up: "SUCCESS" or "SKIPPED"."""

    status: str


class _Version(BaseModel):
    """The reply to `GET /version`."""

    version: str = Field(min_length=1, max_length=200)


def _most_bytes(request: ImageGenerationRequest | ImageEditRequest) -> int:
    """Return the length limit of a reply: all images uncompressed, in base64."""
    pixels = pixels_of(request.size) * request.n * (request.layers or 1)
    if not pixels:
        return _BYTES_WITHOUT_SIZE
    return min(
        _MOST_BYTES, max(_LEAST_BYTES * request.n, int(pixels * _BYTES_PER_PIXEL * _ROUNDED_UP)) + 64 * 1024
    )


def _json_decoder(
    request: ImageGenerationRequest | ImageEditRequest,
) -> Callable[[bytes], ImageGenerationReply]:
    """Return a decoder for JSON replies that checks every image."""

    def decode(content: bytes) -> ImageGenerationReply:
        return _drop_damaged(ImageGenerationReply.model_validate_json(content), request)

    return decode


def _file_decoder(request: ImageGenerationRequest) -> Callable[[bytes], ImageGenerationReply]:
    """Return a decoder for a bare image or a zip; it also reads JSON, if the server ignored the format."""
    decode_json = _json_decoder(request)
    most_bytes = _most_bytes(request)

    def decode(content: bytes) -> ImageGenerationReply:
        if content.lstrip()[:1] == b"{":
            return decode_json(content)
        images = tuple(ReplyImage(bytes=one) for one in unpack_images(content, most_bytes=most_bytes))
        reply = _drop_damaged(ImageGenerationReply(data=images), request)
        first = reply.data[0]
        return reply.model_copy(update={"output_format": first.format, "size": str(first.size)})

    return decode


def _drop_damaged(
    reply: ImageGenerationReply, request: ImageGenerationRequest | ImageEditRequest
) -> ImageGenerationReply:
    """Return the reply without its damaged images: the complete ones were paid for."""
    damage: dict[int, DamagedPicture] = {}
    for number, image in enumerate(reply.data):
        try:
            inspect(image.bytes, most_pixels=most_pixels(request.size))
        except DamagedPicture as error:
            damage[number] = error
    if len(damage) == len(reply.data):
        raise damage[0]
    return reply.without(damage) if damage else reply


def read(call: Call[T], status: int, headers: Mapping[str, str], content: bytes) -> T:
    """Return the value of a reply, or raise its error.

    The headers' names are in lower case; the body is complete, as received.

    Raises:
        ServerRefused: An error status, or a redirect.
        BadReply: The status is a success, but the body breaks the contract.
        ServerError: The status is a success, but the body reports a failure.
    """
    if status in call.other_answers:
        return call.other_answers[status]
    content = content.removeprefix(_BOM)
    exchange = Exchange(
        method=call.method, url=call.path, status=status, request_id=request_id(headers, content)
    )
    if status >= 300:  # noqa: PLR2004  # redirects, and every error after them
        raise reply_error(headers, content, exchange=exchange, status=status, lora=call.lora)
    if status != _OK:
        raise BadReply(
            f"the server answered {status}, but 200 was expected{excerpt(content)}", exchange=exchange
        )
    try:
        return call.decode(content)
    except ValueError as error:
        problem = _problem(content, error)
    if (failed := failure_within(content, exchange=exchange)) is not None:
        raise failed
    # Raised outside the handler, so that no chained error keeps megabytes of the body alive.
    raise BadReply(f"the server answered 200, but {problem}", exchange=exchange)


def _problem(content: bytes, error: ValueError) -> str:
    if text := error_message(content):
        return f"the body contains an error: {text}"
    if isinstance(error, UnicodeDecodeError):
        return f"the body is not UTF-8{excerpt(content)}"
    if not isinstance(error, ValidationError):
        return f"{error}{excerpt(content) if content.lstrip()[:1] == b'<' else ''}"
    complaint = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if complaint["type"] == "json_invalid":
        return f"the body is not valid JSON{excerpt(content)}" if content.strip() else "the body is empty"
    where = ".".join(str(part) for part in complaint["loc"]) or "the body"
    if complaint["type"] in {"too_short", "bytes_too_short"}:
        return f"{where} is empty"
    return f"{where} is invalid: {complaint['msg'].removeprefix('Value error, ')}"
