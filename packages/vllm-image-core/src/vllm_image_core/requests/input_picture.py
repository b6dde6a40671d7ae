"""Read an input image once, within limits, and check and hash exactly the bytes that will be sent."""

import hashlib
import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, TypeAlias, Union, runtime_checkable

from vllm_image_core.errors import BadPicture, InvalidRequest
from vllm_image_core.file_url import path_in_url
from vllm_image_core.imaging.picture import MAX_PIXELS, Picture
from vllm_image_core.imaging.sniffing import kind_of, picture_format
from vllm_image_core.requests.data_url import MOST_DATA_BYTES, decode_data_url, is_data_url
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.text import LONGEST_PATH, brief, one_line, system_reason

if TYPE_CHECKING:
    from PIL import Image


@runtime_checkable
class InputSource(Protocol):
    """Something that knows where an image is and under which rules it may be read."""

    def input_picture(self, *, parameter: str) -> "InputPicture":
        """Read the image with `read_input_file`; called in a thread, after checking that the model can edit.

        Raises:
            InvalidRequest: The image cannot be used, or must not be read.
        """
        ...


InputImage: TypeAlias = Union[
    str, os.PathLike[str], bytes, Picture, GeneratedImage, InputSource, "Image.Image"
]
"""An image to start from: a path, a file:// or data: URL, bytes, one of our images, or a Pillow image."""

MOST_INPUT_BYTES: Final = 104_857_600
"""100 MiB: the most that the client uploads, 4096x8192 pixels uncompressed."""

_ALLOWED: Final = (
    f"a PNG, JPEG or WebP of at most {MOST_INPUT_BYTES // 2**20} MiB and {MAX_PIXELS / 1e6:.1f} megapixels"
)
_ADDRESSES: Final = ("http:", "https:", "ftp:")
_FILE: Final = "file:"
_SHOWN_OF_DATA: Final = 40
"""How many characters of a data: URL a message shows: enough to recognise it."""

_HEAD_BYTES: Final = 4_096
_READING: Final[int] = (
    os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
)
_NAME_CHARACTERS: Final = 120
_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
"""Pillow modes that are written to PNG unchanged; other modes are converted to RGB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPicture:
    """An image that an edit starts from. Created by `read_input` and `read_input_file`.

    Attributes:
        picture: What is uploaded: complete and upright.
        sha256: The hash of these bytes, in hexadecimal: the same for the same image under any name.
        name: The plain name of its file, on one line, without folders; None if it had no file.
    """

    picture: Picture
    sha256: str
    name: str | None = None

    @classmethod
    def of(cls, picture: Picture, *, name: str | None = None) -> "InputPicture":
        """Turn a checked image upright, and give it the plain name of its file."""
        upright = _upright(picture)
        return cls(picture=upright, sha256=hashlib.sha256(upright.bytes).hexdigest(), name=_plain(name))

    def input_picture(self, *, parameter: str) -> "InputPicture":  # noqa: ARG002 - of `InputSource`
        """Return itself: it has been read already."""
        return self

    def __str__(self) -> str:
        return f"{self.name or 'an image'} ({self.picture.size} {self.picture.format.upper()})"


def read_input(source: object, *, parameter: str) -> InputPicture:
    """Read an image that the caller gives in any form of `InputImage`; blocks on the disk.

    The file is read once: what is checked and hashed here is what is sent. An EXIF orientation is applied,
    because the server ignores it.

    Args:
        source: An `InputImage`, unchecked.
        parameter: The name of the parameter, for the message.

    Raises:
        InvalidRequest: It is not an `InputImage`, cannot be read, is too large or damaged, or has another
            format.
    """
    match source:
        case InputSource():
            return source.input_picture(parameter=parameter)
        case GeneratedImage(picture=picture, path=path):
            return InputPicture.of(picture, name=path.name)
        case Picture():
            return InputPicture.of(source)
        case bytes() | bytearray() | memoryview():
            return _check(bytes(source), name=None, parameter=parameter)  # pyright: ignore[reportUnknownArgumentType] - of any layout
        case str() | os.PathLike():
            return _from_path(os.fspath(source), parameter)  # pyright: ignore[reportUnknownArgumentType] - checked there
        case _:
            return _from_pillow(source, parameter)


def read_input_file(file: BinaryIO, *, name: str | None, parameter: str) -> InputPicture:
    """Read the image in an open file; reads at most one byte more than the size limit.

    Raises:
        InvalidRequest: It is not an image, is too large or damaged, or has another format.
    """
    head = file.read(_HEAD_BYTES)
    if picture_format(head) is None:
        raise _refusal(parameter, name, f"is not an image that can be edited, but {kind_of(head)}")
    data = head + file.read(MOST_INPUT_BYTES + 1 - len(head))
    return _check(data, name=name, parameter=parameter)


def as_sequence(images: object) -> Sequence[object]:
    """Return the images of an argument that takes one or several."""
    return images if isinstance(images, list | tuple) else (images,)  # pyright: ignore[reportUnknownVariableType] - a caller's values


def _from_path(path: object, parameter: str) -> InputPicture:
    if not isinstance(path, str):
        raise _refusal(parameter, None, "is a bytes path; pass a str path")
    if is_data_url(path):
        return _from_data_url(path, parameter)
    if path.lower().startswith(_ADDRESSES):
        raise InvalidRequest(
            f"{parameter}: '{one_line(path)}' is a URL. URLs are not fetched: the server would do so without "
            "any check, from inside its own network.",
            parameter=parameter,
            value=path,
            allowed="a path, the content of a file, or an image",
            next_step="Download the image yourself, and give its bytes or its path.",
        )
    name = one_line(path, limit=LONGEST_PATH)
    try:
        path = path_in_url(path) if path.lower().startswith(_FILE) else path
        descriptor = os.open(path, _READING)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _refusal(parameter, name, "is not a regular file")
            return read_input_file(file, name=Path(path).name, parameter=parameter)
    except (OSError, ValueError) as error:  # a bad file:// URL or a zero byte in a path is a ValueError
        raise _refusal(
            parameter,
            name,
            f"cannot be read: {system_reason(error)}",
            next_step="Check the path, and whether this program may read the file.",
        ) from error


def _from_data_url(url: str, parameter: str) -> InputPicture:
    try:
        data = decode_data_url(url)
    except ValueError as error:
        raise InvalidRequest(
            f"{parameter}: '{one_line(url, limit=_SHOWN_OF_DATA)}' cannot be used: {error}.",
            parameter=parameter,
            value=url[:_SHOWN_OF_DATA],
            allowed=f"a data: URL of at most {MOST_DATA_BYTES // 1_000_000} MB of PNG, JPEG or WebP",
            next_step="Save the image as a file, and give its path.",
        ) from error
    return _check(data, name=None, parameter=parameter)


def _check(data: bytes, *, name: str | None, parameter: str) -> InputPicture:
    if len(data) > MOST_INPUT_BYTES:
        raise _refusal(parameter, name, f"is larger than {MOST_INPUT_BYTES} bytes")
    try:
        return InputPicture.of(Picture.check(data), name=name)
    except BadPicture as error:
        raise _refusal(parameter, name, f"cannot be used: {error.message.removesuffix('.')}") from error


def _from_pillow(source: object, parameter: str) -> InputPicture:
    from PIL import Image  # noqa: PLC0415 - starting must not wait for Pillow

    if not isinstance(source, Image.Image):
        what = f"{brief(source)} is not a path, bytes, an image or a Pillow image"
        raise InvalidRequest(
            f"{parameter}: {what}.", parameter=parameter, value=source, allowed="a path, bytes or an image"
        )
    width, height = source.size
    if not 0 < width * height <= MAX_PIXELS:
        raise _refusal(parameter, None, f"has {width}x{height} pixels")
    try:
        content = _as_png(source)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes a file only now
        raise _refusal(parameter, None, f"cannot be written as PNG: {one_line(str(error))}") from error
    return _check(content, name=None, parameter=parameter)


def _upright(picture: Picture) -> Picture:
    """Rotate an image as a viewer would; the server reads the pixels as they are stored in the file."""
    if picture.format == "png" or picture.orientation == 1:
        return picture
    return Picture.check(_as_png(picture.upright()))


def _as_png(image: "Image.Image") -> bytes:
    file = io.BytesIO()
    (image if image.mode in _MODES else image.convert("RGB")).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _plain(name: str | None) -> str | None:
    """Return the name of a file without folders, on one short line."""
    if name is None:
        return None
    return one_line(name.replace("\\", "/").rpartition("/")[2], limit=_NAME_CHARACTERS) or None


def _refusal(parameter: str, name: str | None, fault: str, *, next_step: str | None = None) -> InvalidRequest:
    what = f"'{name}'" if name else "the image"
    return InvalidRequest(
        f"{parameter}: {what} {fault}. Allowed: {_ALLOWED}.",
        parameter=parameter,
        value=name,
        allowed=_ALLOWED,
        next_step=next_step or f"Give another image for {parameter}, or save this one as PNG first.",
    )
