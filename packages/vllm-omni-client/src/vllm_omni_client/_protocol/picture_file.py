"""Write a reply's image into a file as it arrives, checking it on the way."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vllm_omni_client._imaging.picture import InspectedImage, Inspection, most_pixels
from vllm_omni_client._imaging.saving import NewFile
from vllm_omni_client._protocol.picture_stream import PictureStream
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import InvalidParameter
from vllm_omni_client.models import ImageGenerationRequest
from vllm_omni_client.replies import GenerationMetrics

_Request = TypeVar("_Request", ImageGenerationRequest, ImageEditRequest)

_FORMATS: Final = {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""Formats by file extension; a server sends PNG by default."""
_OTHER_FORMATS: Final = frozenset(
    {".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".svg", ".psd", ".pdf"}
)
"""Extensions of formats that no server sends; a PNG of that name would mislead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedFile:
    """A complete image, in a file that still has its temporary name.

    `surplus` further images arrived and were discarded.
    """

    picture: InspectedImage
    metrics: GenerationMetrics | None
    surplus: int


class _Envelope(BaseModel):
    """The JSON around the image."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    data: list[object]
    metrics: object = None


class PictureFile:
    """A file for the image of one reply; each attempt starts it over."""

    def __init__(self, file: NewFile, *, most_pixels: int) -> None:
        self._file = file
        self._most_pixels = most_pixels
        self.begin()

    def begin(self) -> None:
        """Discard everything that an earlier attempt wrote."""
        self._file.restart()
        self._inspection = Inspection(most_pixels=self._most_pixels)
        self._stream = PictureStream(self._take)

    def feed(self, chunk: bytes) -> None:
        """Take the next part of the body; raises what `PictureStream.feed` raises."""
        self._stream.feed(chunk)

    def finish(self) -> bytes:
        """Return the JSON around the image. Raises ValueError if the body is incomplete."""
        return self._stream.finish()

    def receive_rest(self, envelope: bytes) -> ReceivedFile:
        """Return the received image, and the metrics from the JSON around it."""
        metrics = None if self._stream.is_raw else _metrics(envelope)
        return ReceivedFile(picture=self._inspection.finish(), metrics=metrics, surplus=self._stream.surplus)

    def commit(self) -> Path:
        """Move the file to its final name; see `NewFile.commit`."""
        return self._file.commit()

    def _take(self, part: bytes | memoryview) -> None:
        self._inspection.feed(part)
        self._file.write(part)


@contextmanager
def file_for(
    request: ImageGenerationRequest | ImageEditRequest, into: str | Path | None, *, overwrite: bool
) -> Generator[PictureFile | None]:
    """Create a file for a request's image and remove it unless it is committed; None if `into` is None.

    Raises:
        InvalidParameter: The file cannot be created, its extension is that of another format, or more than
            one image is requested.
    """
    if into is None:
        yield None
        return
    if request.n != 1 or request.layers is not None:
        raise InvalidParameter("into takes one image: use n=1, without layers", parameter="into")
    path = _path(into)
    if path.suffix.lower() in _OTHER_FORMATS:
        raise InvalidParameter(
            f"into = {str(path)!r}: an image cannot be a {path.suffix} file; use .png, .jpg or .webp",
            parameter="into",
        )
    with NewFile(path, overwrite=overwrite) as new:
        yield PictureFile(new, most_pixels=most_pixels(request.size))


def with_file_format(request: _Request, into: str | Path | None) -> _Request:
    """Return the request with the format of the file's extension, unless the request sets one itself."""
    if into is None or request.output_format is not None:
        return request
    output_format = _FORMATS.get(_path(into).suffix.lower())
    return request if output_format is None else request.model_copy(update={"output_format": output_format})


def _path(into: str | Path) -> Path:
    try:
        return Path(into)
    except TypeError as error:
        raise InvalidParameter(f"into: {error}", parameter="into") from error


def _metrics(envelope: bytes) -> GenerationMetrics | None:
    metrics = _Envelope.model_validate_json(envelope).metrics
    try:
        return None if metrics is None else GenerationMetrics.model_validate(metrics)
    except ValidationError:
        return None
