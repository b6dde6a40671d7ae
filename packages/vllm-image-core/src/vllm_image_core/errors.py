"""Define the errors that this package raises, as one tree.

    ImageError                 the base of all of them; has `message` and `next_step`
    ├── InvalidRequest         a parameter cannot be used; nothing was sent
    ├── BadProfile             a model profile cannot be used
    ├── BadPicture             the bytes are not a complete PNG, JPEG or WebP
    ├── NotRecalled            a file does not say how its image was made
    ├── CannotSave             an image cannot be written
    │   ├── NotEnoughSpace     found before anything was sent; has free and needed bytes
    │   └── PictureNotSaved    found after the image was generated; holds the image so that it is not lost
    ├── DatabaseUnavailable    a SQLite file next to the images cannot be read or written
    │   ├── IndexUnavailable   the folder's index
    │   ├── VerdictsUnavailable  which of the folder's images were kept, rated or tagged
    │   └── JournalUnavailable the journal of the folder's batches
    ├── LimitReached           a limit on images per hour or on megapixels in progress; nothing was sent
    ├── BatchInUse             another process, or another studio, is working on that batch
    ├── BatchMoved             the batch was started in another process or on another event loop
    ├── RecordedFailure        why a request failed, as recorded in the journal
    ├── PoisonRequest          the engine died on this request twice
    ├── RunStopped             a dataset's servers or store were unavailable for too long
    ├── UnknownBatch           no batch has that id
    └── MissingPackage         an optional package is not installed

Errors of the connection and the server are `vllm_omni_client.errors.OmniError`, passed through unchanged.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from datetime import datetime

    from vllm_image_core.imaging.picture import Picture


class ImageError(Exception):
    """An error that says what went wrong and what to do next.

    Attributes:
        message: What went wrong, in a sentence or two; the same as `str(error)`.
        next_step: What the caller can do now, in one sentence.
    """

    message: str
    next_step: str
    usual_next_step: ClassVar[str] = "Read the message, change the request and try again."

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = self.usual_next_step if next_step is None else next_step

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows for this error."""
        from vllm_omni_client.tracebacks import short_traceback  # noqa: PLC0415 - for notebooks alone

        return short_traceback(self, next_step=self.next_step)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...], dict[str, object]]:
        """Keep the attributes when the error is pickled or copied, whatever `__init__` takes."""
        return _blank, (type(self), self.message), self.__dict__


class InvalidRequest(ImageError):
    """A parameter cannot be used; nothing was sent.

    Attributes:
        parameter: The name of the parameter, as in `ImageRequest`.
        value: The value as the caller gave it: untrusted, of any type and length.
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
    """A model profile cannot be used; the message names the file, the key and what is allowed."""

    usual_next_step = "Correct the profile file."


class BadPicture(ImageError):
    """The bytes are not a complete PNG, JPEG or WebP."""

    usual_next_step = "Generate the image again; if it happens again, check the server's log."


class NotRecalled(ImageError):
    """A file does not say how its image was made."""

    usual_next_step = "Use the file as it was first saved: editors, chats and websites often strip metadata."


class CannotSave(ImageError):
    """An image cannot be written."""

    usual_next_step = "Choose another output folder, or make this one writable and free some space."


class NotEnoughSpace(CannotSave):
    """The disk has less space than the images will need; nothing was sent.

    Attributes:
        free_bytes: Free space on that disk.
        needed_bytes: Space that the images need, estimated with a margin.
    """

    usual_next_step = "Free some space on that disk, or choose another output folder."

    def __init__(self, message: str, *, free_bytes: int, needed_bytes: int) -> None:
        super().__init__(message)
        self.free_bytes = free_bytes
        self.needed_bytes = needed_bytes


class PictureNotSaved(CannotSave):
    """An image was generated but could not be written; the error holds it, so it is not lost.

    Attributes:
        picture: The image.
    """

    def __init__(self, message: str, *, picture: "Picture", next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.picture = picture


class LimitReached(ImageError):
    """A request would exceed what may be requested in an hour, or be in progress at once; nothing was sent.

    Attributes:
        limit: The name of the limit, as in `Limits`.
        free_at: When there is room for the request again; None if that is not known.
    """

    usual_next_step = "Wait until images in progress are finished, then call again."

    def __init__(
        self, message: str, *, limit: str, free_at: "datetime | None" = None, next_step: str | None = None
    ) -> None:
        super().__init__(message, next_step=next_step)
        self.limit = limit
        self.free_at = free_at


class DatabaseUnavailable(ImageError):
    """A SQLite file next to the images cannot be read or written; the images themselves are not affected."""

    usual_next_step = "Images are still saved; check the folder's permissions and free space."


class IndexUnavailable(DatabaseUnavailable):
    """The folder's index cannot be read or written; the images themselves are not affected."""


class VerdictsUnavailable(DatabaseUnavailable):
    """The file of verdicts cannot be read or written; the images themselves are not affected."""


class JournalUnavailable(DatabaseUnavailable):
    """The journal of the folder's batches cannot be read or written; no batch continues without it."""

    usual_next_step = "Check the folder's permissions and free space, then resume the batch."


class BatchInUse(ImageError):
    """Another process, or another studio, is working on that batch.

    Attributes:
        batch_id: The batch.
        host: The name of the machine that is working on it.
        pid: The process that is working on it.
    """

    usual_next_step = "Let the other process finish, or stop it; then resume the batch."

    def __init__(self, message: str, *, batch_id: str, host: str, pid: int) -> None:
        super().__init__(message)
        self.batch_id = batch_id
        self.host = host
        self.pid = pid


class BatchMoved(ImageError):
    """The batch was started in another process or on another event loop, and cannot be used in this one."""

    usual_next_step = "Open a studio here and resume the batch by its id."


class RecordedFailure(ImageError):
    """Why a request failed, as recorded in the journal.

    Attributes:
        kind: The class name of the original error, such as "OutOfGpuMemory".
    """

    def __init__(self, message: str, *, kind: str, next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.kind = kind


class PoisonRequest(ImageError):
    """The engine died on this request twice; it is not sent again.

    Attributes:
        attempts: How often the request was sent, or an attempt was made to send it.
        generations: How many of these attempts may have used GPU time.
    """

    usual_next_step = "Ask for a smaller size or fewer steps, and check the servers' logs."

    def __init__(self, message: str, *, attempts: int, generations: int) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.generations = generations


class RunStopped(ImageError):
    """The servers or the store of a dataset were unavailable for too long; nothing is lost."""

    usual_next_step = "Run it again when they are back: finished images are not generated again."


class UnknownBatch(ImageError):
    """No batch has that id."""

    usual_next_step = "Use the batch_id that batch_generate returned."


class MissingPackage(ImageError):
    """An optional package is not installed."""

    def __init__(self, package: str, *, needed_for: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; {needed_for}.",
            next_step=f'Install it: pip install "vllm-image-core[{extra}]".',
        )


def _blank(kind: type[ImageError], message: str) -> ImageError:
    return kind.__new__(kind, message)
