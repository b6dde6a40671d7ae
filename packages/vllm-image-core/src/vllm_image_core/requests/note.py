"""Define a note: one thing about a request that was changed, or that its caller should know."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing that was changed, or that the caller should know; `str(note)` is the message.

    Attributes:
        parameter: The parameter that it concerns, as named in `ImageRequest`.
        message: One or two sentences.
    """

    parameter: str
    message: str

    def __str__(self) -> str:
        return self.message
