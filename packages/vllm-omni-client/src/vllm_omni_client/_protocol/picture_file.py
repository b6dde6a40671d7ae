"""PictureFile: where a reply's one picture goes when it is wanted in a file, checked as it arrives."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vllm_omni_client._imaging.picture import Inspected, Inspection, most_pixels
from vllm_omni_client._imaging.saving import NewFile
from vllm_omni_client._protocol.picture_stream import PictureStream
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import InvalidParameter
from vllm_omni_client.models import ImageGenerationRequest
from vllm_omni_client.replies import GenerationMetrics

_Request = TypeVar("_Request", ImageGenerationRequest, ImageEditRequest)

_NOTHING: Final = b""
_FORMATS: Final = {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""By extension; PNG is what a server makes without being asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedFile:
    """A picture that is whole, in a file that still has its temporary name.

    Attributes:
        picture: What it is.
        metrics: What the server measured, where it said so.
        surplus: How many more pictures came, which were not kept.
    """

    picture: Inspected
    metrics: GenerationMetrics | None
    surplus: int


class _Around(BaseModel):
    """What stands around the picture."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    data: list[object]
    metrics: object = None


class PictureFile:
    """A file that takes the picture of one reply; begun anew for each attempt.

    Args:
        file: What is written to.
        most_pixels: A picture that says it is larger is refused.
    """

    def __init__(self, file: NewFile, *, most_pixels: int) -> None:
        self._file = file
        self._most_pixels = most_pixels
        self.begin()

    def begin(self) -> None:
        """Forget what an attempt before this one has brought."""
        self._file.restart()
        self._inspection = Inspection(most_pixels=self._most_pixels)
        self._stream = PictureStream(self._take)

    def feed(self, chunk: bytes) -> None:
        """Take the next part of the body.

        Raises:
            ValueError: It is not what was promised.
            OSError: The picture cannot be written.
        """
        self._stream.feed(chunk)

    def finish(self) -> bytes:
        """Return what stands around the picture. Raises ValueError when the body is not whole."""
        return self._stream.finish()

    def receive_rest(self, around: bytes) -> ReceivedFile:
        """Return what has come.

        Raises:
            ValueError: No whole picture has.
        """
        metrics = None if self._stream.is_raw else _metrics(around)
        return ReceivedFile(picture=self._inspection.finish(), metrics=metrics, surplus=self._stream.surplus)

    def commit(self) -> Path:
        """Give the file its name; see `NewFile.commit`."""
        return self._file.commit()

    def _take(self, part: bytes | memoryview) -> None:
        self._inspection.feed(part)
        self._file.write(part)


@contextmanager
def file_for(
    request: ImageGenerationRequest | ImageEditRequest, into: str | Path | None, *, overwrite: bool
) -> Generator[PictureFile | None]:
    """A file for a request's picture, removed again unless it was put in its place; None for none.

    Raises:
        InvalidParameter: It cannot be made, or more than one picture is asked for.
    """
    if into is None:
        yield None
        return
    if request.n != 1 or request.layers is not None:
        raise InvalidParameter("into takes one picture: ask for n=1, without layers", parameter="into")
    with NewFile(_path(into), overwrite=overwrite) as new:
        yield PictureFile(new, most_pixels=most_pixels(request.size))


def in_format_of(request: _Request, into: str | Path | None) -> _Request:
    """The request with the format that the file's extension stands for, where it asks for none itself."""
    if into is None or request.output_format is not None:
        return request
    meant = _FORMATS.get(_path(into).suffix.lower())
    return request if meant is None else request.model_copy(update={"output_format": meant})


def _path(into: str | Path) -> Path:
    try:
        return Path(into)
    except TypeError as error:
        raise InvalidParameter(f"into: {error}", parameter="into") from error


def _metrics(around: bytes) -> GenerationMetrics | None:
    told = _Around.model_validate_json(around).metrics
    try:
        return None if told is None else GenerationMetrics.model_validate(told)
    except ValidationError:
        return None
