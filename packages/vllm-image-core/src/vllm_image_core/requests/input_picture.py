"""An input picture: what an edit starts from, read once within bounds, checked, and named by its hash."""

import hashlib
import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, TypeAlias, Union, runtime_checkable

from vllm_image_core.errors import BadPicture, InvalidRequest
from vllm_image_core.imaging.picture import MAX_PIXELS, Picture
from vllm_image_core.imaging.sniffing import kind_of, picture_format
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.text import LONGEST_PATH, one_line, shown

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MOST_INPUT_BYTES", "InputImage", "InputPicture", "InputSource", "read_input", "read_input_file"]


@runtime_checkable
class InputSource(Protocol):
    """Something that knows where a picture is, and under which rules it may be read."""

    def input_picture(self, *, parameter: str) -> "InputPicture":
        """Read it, by `read_input_file`; called in a thread, once it is known that the model can edit.

        Raises:
            InvalidRequest: It cannot be used, or must not be read.
        """
        ...


InputImage: TypeAlias = Union[
    str, os.PathLike[str], bytes, Picture, GeneratedImage, InputSource, "Image.Image"
]
"""A picture to start from: a path, a file's content, a picture of ours, or a Pillow image."""

MOST_INPUT_BYTES: Final = 104_857_600
"""100 MiB: what the client uploads at the most, 4096x8192 pixels uncompressed."""

_ALLOWED: Final = (
    f"a PNG, JPEG or WebP of at most {MOST_INPUT_BYTES // 2**20} MiB and {MAX_PIXELS / 1e6:.1f} megapixels"
)
_ADDRESSES: Final = ("http:", "https:", "data:", "ftp:", "file:")
_HEAD_BYTES: Final = 4_096
_READING: Final[int] = (
    os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
)
_NAME_CHARACTERS: Final = 120
_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
"""What is written as PNG as it is; other modes are written as RGB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPicture:
    """A picture that an edit starts from. Made by `read_input` and `read_input_file`.

    Attributes:
        picture: What is uploaded: whole, upright.
        sha256: The hash of these bytes, in hexadecimal: the same picture under any name.
        name: The plain name of its file, on one line; None for one that had no file. Never a folder.
    """

    picture: Picture
    sha256: str
    name: str | None = None

    @classmethod
    def of(cls, picture: Picture, *, name: str | None = None) -> "InputPicture":
        """A checked picture, upright, under the plain name of its file."""
        upright = _upright(picture)
        return cls(picture=upright, sha256=hashlib.sha256(upright.bytes).hexdigest(), name=_plain(name))

    def input_picture(self, *, parameter: str) -> "InputPicture":  # noqa: ARG002 - of `InputSource`
        """Itself: it is read already."""
        return self

    def __str__(self) -> str:
        return f"{self.name or 'a picture'} ({self.picture.size} {self.picture.format.upper()})"


def read_input(source: object, *, parameter: str) -> InputPicture:
    """The picture that a caller gives, whatever it is given as; waits for the disk.

    The file is read once: what is checked and hashed here is what is sent. An EXIF orientation is applied,
    since the server ignores it.

    Args:
        source: An `InputImage`, unchecked.
        parameter: Its name, for the message.

    Raises:
        InvalidRequest: It is none of these, cannot be read, is too large, damaged or of another format.
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
    """The picture in an open file; no more is read than a picture may have.

    Raises:
        InvalidRequest: It is no picture, too large, damaged or of another format.
    """
    head = file.read(_HEAD_BYTES)
    if picture_format(head) is None:
        raise _refusal(parameter, name, f"is no picture that can be edited, but {kind_of(head)}")
    data = head + file.read(MOST_INPUT_BYTES + 1 - len(head))
    return _check(data, name=name, parameter=parameter)


def as_sequence(images: object) -> Sequence[object]:
    """The pictures of an argument that takes one or several."""
    return images if isinstance(images, list | tuple) else (images,)  # pyright: ignore[reportUnknownVariableType] - a caller's values


def _from_path(path: object, parameter: str) -> InputPicture:
    if not isinstance(path, str):
        raise _refusal(parameter, None, "is a path of bytes, and no text")
    if path.lower().startswith(_ADDRESSES):
        raise InvalidRequest(
            f"{parameter}: '{one_line(path)}' is an address. Nothing is fetched here: the server would do it "
            "without any check, from inside its own network.",
            parameter=parameter,
            value=path,
            allowed="a path, the content of a file, or a picture",
            next_step="Load the picture yourself, and give its bytes or its path.",
        )
    told = one_line(path, limit=LONGEST_PATH)
    try:
        descriptor = os.open(path, _READING)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _refusal(parameter, told, "is no file")
            return read_input_file(file, name=Path(path).name, parameter=parameter)
    except (OSError, ValueError) as error:  # a zero byte in a path is a ValueError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _refusal(
            parameter,
            told,
            f"cannot be read: {one_line(reason)}",
            next_step="Look at the path, and whether this program may read the file.",
        ) from error


def _check(data: bytes, *, name: str | None, parameter: str) -> InputPicture:
    if len(data) > MOST_INPUT_BYTES:
        raise _refusal(parameter, name, f"has more than {MOST_INPUT_BYTES} bytes")
    try:
        return InputPicture.of(Picture.check(data), name=name)
    except BadPicture as error:
        raise _refusal(parameter, name, f"cannot be used: {error.message.removesuffix('.')}") from error


def _from_pillow(source: object, parameter: str) -> InputPicture:
    from PIL import Image  # noqa: PLC0415 - starting must not wait for Pillow

    if not isinstance(source, Image.Image):
        what = f"{shown(source)} is no path, bytes, picture or Pillow image"
        raise InvalidRequest(
            f"{parameter}: {what}.", parameter=parameter, value=source, allowed="a path, bytes or a picture"
        )
    width, height = source.size
    if not 0 < width * height <= MAX_PIXELS:
        raise _refusal(parameter, None, f"has {width}x{height} pixels")
    try:
        content = _as_png(source)
    except (OSError, SyntaxError, ValueError) as error:  # a file of Pillow's is decoded only now
        raise _refusal(parameter, None, f"cannot be written as PNG: {one_line(str(error))}") from error
    return _check(content, name=None, parameter=parameter)


def _upright(picture: Picture) -> Picture:
    """The picture as a viewer shows it; the server reads the pixels as they lie in the file."""
    if picture.format == "png" or picture.orientation == 1:
        return picture
    return Picture.check(_as_png(picture.upright()))


def _as_png(image: "Image.Image") -> bytes:
    file = io.BytesIO()
    (image if image.mode in _MODES else image.convert("RGB")).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _plain(name: str | None) -> str | None:
    """A file's own name without folders, on one short line."""
    if name is None:
        return None
    return one_line(name.replace("\\", "/").rpartition("/")[2], limit=_NAME_CHARACTERS) or None


def _refusal(parameter: str, name: str | None, fault: str, *, next_step: str | None = None) -> InvalidRequest:
    what = f"'{name}'" if name else "the picture"
    return InvalidRequest(
        f"{parameter}: {what} {fault}. Allowed is {_ALLOWED}.",
        parameter=parameter,
        value=name,
        allowed=_ALLOWED,
        next_step=next_step or f"Give another picture for {parameter}, or save this one as PNG first.",
    )
