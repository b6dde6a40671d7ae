"""Twins: the same picture from different seeds, which is what a server that ignores seeds sends."""

import hashlib
import threading
from collections import OrderedDict
from typing import Final

__all__ = ["DuplicateDetector"]

_REMEMBERED: Final = 1000
"""Pictures that are remembered, some hundred bytes each."""


class DuplicateDetector:
    """Remembers the last pictures by their content; safe in many threads."""

    def __init__(self) -> None:
        self._seeds: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def seed_of(self, content: bytes, *, seed: int) -> int | None:
        """The other seed that gave the very same bytes before; None where none did.

        Args:
            content: A picture as the server sent it, before anything is written into it.
            seed: What it was made with; remembered from now on.
        """
        digest = hashlib.sha256(content).digest()  # a millisecond, in which other threads run
        with self._lock:
            first = self._seeds.setdefault(digest, seed)
            self._seeds.move_to_end(digest)
            if len(self._seeds) > _REMEMBERED:
                self._seeds.popitem(last=False)
        return None if first == seed else first
