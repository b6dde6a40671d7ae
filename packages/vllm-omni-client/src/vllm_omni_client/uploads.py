"""Read the input images of an edit from paths, bytes, file objects or Pillow images."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final, Literal, Protocol, cast, runtime_checkable

from vllm_omni_client._imaging.picture import PictureFormat, format_of
from vllm_omni_client._text import printable
from vllm_omni_client.errors import InvalidParameter

MOST_IMAGES: Final = 4
"""The most that any model of 0.30.0 accepts (`vllm_omni/diffusion/model_metadata.py`)."""

MOST_UPLOAD_BYTES: Final = 100 * 1024 * 1024
"""Size limit of one input image: 4096x8192 pixels uncompressed."""

UploadField = Literal["image", "mask_image", "reference_image"]

_SHOWN: Final = 60
# A path object has already collapsed two slashes into one. A single letter is a drive.
_ADDRESS: Final = re.compile(r"\s*([a-z][a-z0-9+.-]+:/|(data|blob):)", re.IGNORECASE)


@runtime_checkable
class BinaryFile(Protocol):
    """A file object opened in binary mode."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        ...


@runtime_checkable
class PillowImage(Protocol):
    """The part of a Pillow image that is used here."""

    def save(self, fp: io.BytesIO, /, format: str) -> None:  # noqa: A002  # Pillow's own name
        """Write the image to a file object."""
        ...


InputImage = str | PathLike[str] | bytes | bytearray | memoryview | BinaryFile | PillowImage
"""An input image: a path, its bytes, a file opened in binary mode, or a Pillow image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An image to upload.

    Attributes:
        field: The name of its form field.
        format: The format of its bytes.
        content: The encoded image.
    """

    field: UploadField
    format: PictureFormat
    content: bytes


def read_uploads(
    image: InputImage | Sequence[InputImage],
    *,
    mask_image: InputImage | None = None,
    reference_image: InputImage | None = None,
) -> tuple[Upload, ...]:
    """Read the input images of an edit.

    Raises:
        InvalidParameter: There are none or more than 4; or one is a URL, cannot be read, is too large, or is
            not a PNG, JPEG or WebP.
    """
    images = image if isinstance(image, list | tuple) else [cast("InputImage", image)]
    if not 1 <= len(images) <= MOST_IMAGES:
        raise _refusal("image", f"an edit takes 1 to {MOST_IMAGES} images, not {len(images)}")
    extras: tuple[tuple[UploadField, InputImage | None], ...] = (
        ("mask_image", mask_image),
        ("reference_image", reference_image),
    )
    return (
        *(_upload("image", one) for one in images),
        *(_upload(field, one) for field, one in extras if one is not None),
    )


def _upload(field: UploadField, image: InputImage) -> Upload:
    content = _content(field, image)
    kind = format_of(content)
    if kind is None:
        raise _refusal(field, "is not a PNG, JPEG or WebP; open it with Pillow and pass the image")
    return Upload(field=field, format=kind, content=content)


def _content(field: UploadField, image: InputImage) -> bytes:
    match image:
        case bytes() | bytearray() | memoryview():
            return _bound(field, bytes(image))
        case str() | PathLike():
            return _from_path(field, image)
        case BinaryFile():
            return _bound(field, _read(field, image))
        case PillowImage():
            return _encode(field, image)
        case _:
            raise _refusal(field, f"{type(image).__name__} is not a path, bytes, binary file or Pillow image")


def _from_path(field: UploadField, path: "str | PathLike[str]") -> bytes:
    text = str(path)
    if _ADDRESS.match(text):
        raise _refusal(
            field,
            f"{printable(text, limit=_SHOWN)!r} is a URL. The server would fetch it unchecked from its own"
            " network, and refuses data: URLs above 1 MiB; load the image and pass its bytes",
        )
    try:
        with Path(text).open("rb") as file:
            return _bound(field, file.read(MOST_UPLOAD_BYTES + 1))
    except (OSError, ValueError) as error:
        raise _refusal(
            field, f"{printable(text, limit=_SHOWN)!r} cannot be read: {_reason(error)}"
        ) from error


def _reason(error: OSError | ValueError) -> str:
    """Return the system's reason, without the error number and the path."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _read(field: UploadField, file: BinaryFile) -> bytes:
    try:
        content = cast("object", file.read(MOST_UPLOAD_BYTES + 1))
    except (OSError, ValueError) as error:
        raise _refusal(field, f"the file object cannot be read: {_reason(error)}") from error
    if not isinstance(content, bytes):
        raise _refusal(field, "the file object was opened for text; open it in binary mode")
    return content


def _encode(field: UploadField, image: PillowImage) -> bytes:
    """Encode an image as PNG, which is lossless."""
    buffer = io.BytesIO()
    try:
        image.save(buffer, format="PNG")
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # Pillow reads the file only now
        why = f'the image cannot be sent as PNG: {error}; is it complete? Or try image.convert("RGB")'
        raise _refusal(field, why) from error
    return buffer.getvalue()


def _bound(field: UploadField, content: bytes) -> bytes:
    if len(content) > MOST_UPLOAD_BYTES:
        raise _refusal(field, f"has more than {MOST_UPLOAD_BYTES} bytes, the limit")
    return content


def _refusal(field: UploadField, why: str) -> InvalidParameter:
    return InvalidParameter(f"{field}: {why}", parameter=field)
