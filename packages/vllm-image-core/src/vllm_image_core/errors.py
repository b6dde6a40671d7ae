"""The errors of this package, one tree.

    ImageError                 everything below; `message` and `next_step`
    ├── InvalidRequest         a parameter that cannot be used; nothing was sent
    ├── BadProfile             a model profile that cannot be used
    ├── BadPicture             bytes that are no whole PNG, JPEG or WebP
    ├── NotRecalled            a file that does not tell how its picture was made
    ├── CannotSave             a picture that cannot be written
    │   ├── NotEnoughSpace     found before anything was sent; has both numbers of bytes
    │   └── PictureNotSaved    found when it was made; has the picture, so that it is not lost
    ├── DatabaseUnavailable    a SQLite file beside the pictures cannot be read or written
    │   ├── IndexUnavailable   the index of the folder
    │   └── JournalUnavailable the journal of the folder's batches
    ├── BatchInUse             another process, or another studio, works on that batch
    ├── BatchMoved             a batch that was begun in another process or on another event loop
    ├── RecordedFailure        why a request failed, as the journal remembers it
    ├── PoisonRequest          a request on which engines died twice
    └── UnknownBatch           no batch has that id

Errors of the connection are `vllm_omni_client.errors.OmniError`; they pass through this package unchanged.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from vllm_image_core.imaging.picture import Picture


class ImageError(Exception):
    """What went wrong, and what to do next.

    Attributes:
        message: What went wrong, in a sentence or two. `str(error)` is the same.
        next_step: What the caller can do now, in one sentence.
    """

    message: str
    next_step: str
    usual_next_step: ClassVar[str] = "Read the message, change the request and try again."

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = self.usual_next_step if next_step is None else next_step

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...], dict[str, object]]:
        """Keep the attributes in a pickle and in a copy, whatever `__init__` takes."""
        return _blank, (type(self), self.message), self.__dict__


class InvalidRequest(ImageError):
    """A parameter that cannot be used; nothing was sent.

    Attributes:
        parameter: The name of the parameter, as in `ImageRequest`.
        value: The value as it was given: untrusted, of any type and length.
        allowed: What is allowed instead, in words.
    """

    def __init__(
        self,
        message: str,
        *,
        parameter: str,
        value: object,
        allowed: str,
        next_step: str | None = None,
    ) -> None:
        super().__init__(message, next_step=next_step or f"Correct {parameter} and call again.")
        self.parameter = parameter
        self.value = value
        self.allowed = allowed


class BadProfile(ImageError):
    """A model profile that cannot be used: its file, the key and what is allowed are in the message."""

    usual_next_step = "Correct the profile's file."


class BadPicture(ImageError):
    """Bytes that are no whole PNG, JPEG or WebP."""

    usual_next_step = "Generate the picture again; if it happens again, look at the server's log."


class NotRecalled(ImageError):
    """A file that does not tell how its picture was made."""

    usual_next_step = "Take the file as it was saved: editors, chats and websites often remove what it tells."


class CannotSave(ImageError):
    """A picture that cannot be written."""

    usual_next_step = "Choose another output folder, or make this one writable and free some space."


class NotEnoughSpace(CannotSave):
    """A disk with less space than the pictures will need; nothing was sent.

    Attributes:
        free_bytes: What is free there.
        needed_bytes: What the pictures need, estimated with a margin.
    """

    usual_next_step = "Free some space on that disk, or choose another output folder."

    def __init__(self, message: str, *, free_bytes: int, needed_bytes: int) -> None:
        super().__init__(message)
        self.free_bytes = free_bytes
        self.needed_bytes = needed_bytes


class PictureNotSaved(CannotSave):
    """A picture that was made and could not be written; it is in the error, and not lost.

    Attributes:
        picture: The picture.
    """

    def __init__(self, message: str, *, picture: "Picture", next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.picture = picture


class DatabaseUnavailable(ImageError):
    """A SQLite file beside the pictures cannot be read or written; the pictures are there all the same."""

    usual_next_step = "Pictures are saved all the same; look at the folder's permissions and its free space."


class IndexUnavailable(DatabaseUnavailable):
    """The index of the folder cannot be read or written; the pictures are there all the same."""


class JournalUnavailable(DatabaseUnavailable):
    """The journal of the folder's batches cannot be read or written; no batch goes on without it."""

    usual_next_step = "Look at the folder's permissions and its free space, then resume the batch."


class BatchInUse(ImageError):
    """Another process, or another studio, works on that batch.

    Attributes:
        batch_id: Which.
        host: The name of the other's machine.
        pid: The other's process.
    """

    usual_next_step = "Let the other one go on, or end it; then resume the batch."

    def __init__(self, message: str, *, batch_id: str, host: str, pid: int) -> None:
        super().__init__(message)
        self.batch_id = batch_id
        self.host = host
        self.pid = pid


class BatchMoved(ImageError):
    """A batch that was begun in another process or on another event loop; it cannot be used in this one."""

    usual_next_step = "Open a studio here, and resume the batch by its id."


class RecordedFailure(ImageError):
    """Why a request failed, as the journal remembers it.

    Attributes:
        kind: The name of the error's class, such as "OutOfGpuMemory".
    """

    def __init__(self, message: str, *, kind: str, next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.kind = kind


class PoisonRequest(ImageError):
    """A request on which engines died twice; it is not sent again."""

    usual_next_step = "Ask for a smaller size or fewer steps, and look at the logs of the servers."


class UnknownBatch(ImageError):
    """No batch has that id."""

    usual_next_step = "Use the batch_id that batch_generate returned."


def _blank(kind: type[ImageError], message: str) -> ImageError:
    return kind.__new__(kind, message)
