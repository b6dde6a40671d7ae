"""A streak: failures of one kind in a row, with no success between them."""

from typing import Final

__all__ = ["Streak"]

_SAME_FAILURES: Final = 5
"""So many failures of one kind, with no success between them, stop a batch."""


class Streak:
    """Counts failures until one is of another kind, or something succeeds."""

    def __init__(self) -> None:
        self._kind: type[Exception] | None = None
        self._count = 0

    def failed(self, error: Exception) -> str | None:
        """Count a failure; where it was one too many, what is to be told: the others would fail, too."""
        self._count = self._count + 1 if type(error) is self._kind else 1
        self._kind = type(error)
        if self._count < _SAME_FAILURES:
            return None
        return f"{_SAME_FAILURES} requests in a row have failed in the same way: {error}"

    def broken(self) -> None:
        """Begin anew: something has succeeded."""
        self._kind, self._count = None, 0
