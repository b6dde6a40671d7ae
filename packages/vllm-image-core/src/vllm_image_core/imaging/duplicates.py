"""Detect the same image coming from different seeds, which shows that a server ignores seeds."""

import hashlib
import threading
from collections import OrderedDict
from typing import Final

from vllm_omni_client.imaging import SIGNATURE

from vllm_image_core.imaging import png

_MAX_REMEMBERED: Final = 1000
"""How many images are remembered, at some hundred bytes each."""


class DuplicateDetector:
    """Remembers the hashes of recent images, to find equal ones; thread-safe."""

    def __init__(self) -> None:
        self._seeds: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def seed_of(self, content: bytes, *, seed: int) -> int | None:
        """Return a different seed that gave exactly the same bytes before; None if there is none.

        `content` is the image as the server sent it; the seed is remembered from now on.
        """
        digest = _fingerprint(content)
        with self._lock:
            first = self._seeds.setdefault(digest, seed)
            self._seeds.move_to_end(digest)
            if len(self._seeds) > _MAX_REMEMBERED:
                self._seeds.popitem(last=False)
        return None if first == seed else first


def _fingerprint(content: bytes) -> bytes:
    """Hash an image's bytes; of a PNG, only its chunks' lengths and checksums, which stand for the rest.

    The last four bytes of the compressed pixels, which are included, are another checksum of them.
    """
    if not content.startswith(SIGNATURE):
        return hashlib.sha256(content).digest()
    digest = hashlib.sha256()
    for chunk in png.chunks(content):
        digest.update(content[chunk.start : chunk.start + 8])
        digest.update(content[chunk.end - 8 : chunk.end])
    return digest.digest()
