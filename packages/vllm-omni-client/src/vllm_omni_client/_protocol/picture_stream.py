"""Extract the one image of a reply from its body as the body arrives.

The body is JSON with the image in base64, or the image itself; its first byte decides which. The rest of the
JSON, which is limited in size, is kept and parsed at the end.
"""

import re
from collections.abc import Callable
from typing import Final, Literal

from vllm_omni_client._imaging.base64_text import decode
from vllm_omni_client.replies import DATA_URL

# Quotation marks inside a JSON string are escaped, so this can only be a key and its value.
_KEY: Final = re.compile(rb'"b64_json"\s{0,16}:\s{0,16}"')
_KEY_BYTES: Final = 64
_MOST_REST_BYTES: Final = 1024 * 1024
# A data URL's prefix is searched for in this many bytes.
_HEAD_BYTES: Final = 160
_QUAD: Final = 4
_BOM: Final = b"\xef\xbb\xbf"

# Some JSON writers escape the slash, or the plus sign as \u002B; base64 uses both. MIME wraps it into lines.
_ESCAPE: Final = re.compile(rb"\\(?:(/)|([rn]|u000[AaDd])|u00([0-9A-Fa-f]{2}))")
_UNFINISHED_ESCAPE: Final = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?\Z")

_State = Literal["start", "rest", "head", "picture", "surplus", "raw"]


class PictureStream:
    """A body that is being received.

    It passes the image's own bytes to `write`, piece by piece.

    Attributes:
        surplus: How many images followed the first one; they are discarded.
        gap: Where the first image was in the JSON that `finish` returns; None for a bare image.
    """

    def __init__(self, write: Callable[[bytes | memoryview], None]) -> None:
        self.surplus = 0
        self.gap: int | None = None
        self._write: Callable[[bytes | memoryview], None] = write
        self._state: _State = "start"
        self._rest = bytearray()
        self._carry = b""
        self._escape = b""
        self._padded = False
        self._pictures = 0
        self._chunk = b""
        self._searched = 0

    @property
    def is_raw(self) -> bool:
        """Whether the body is the image itself."""
        return self._state == "raw"

    @property
    def undecoded(self) -> bytes | None:
        """The base64 that waits for the next part; None if more than the image's own text has to be kept."""
        return self._carry if self._state in {"picture", "raw"} and not self._escape else None

    def feed(self, chunk: bytes) -> None:
        """Take the next part of the body.

        Raises:
            ValueError: The body breaks the contract.
            OSError: The image cannot be written.
        """
        if self._state == "start":
            chunk = self._without_bom(chunk)
        self._chunk = chunk
        view = memoryview(chunk)
        if self._state == "start" and (first := chunk.lstrip()[:1]):
            self._state = "rest" if first in b'{["' else "raw"
        while view:
            view = self._step(view)
        self._chunk = b""  # release it before the next one arrives

    def finish(self) -> bytes:
        """Return the JSON around the image, with the image left empty; nothing for a bare image."""
        if self._state in {"head", "picture", "surplus"}:
            raise ValueError("the reply ends inside the image")
        self._write = lambda _: (
            None
        )  # the writer refers to this stream: breaking the cycle frees both at once
        return bytes(self._rest)

    def _without_bom(self, chunk: bytes) -> bytes:
        """Strip a leading byte order mark; a partial one waits for the next chunk."""
        joined = self._escape + chunk
        cut = len(joined) < len(_BOM) and _BOM.startswith(joined)
        self._escape = joined if cut else b""
        return b"" if cut else joined.removeprefix(_BOM)

    def _step(self, view: memoryview) -> memoryview:
        match self._state:
            case "raw":
                self._write(view)
                return view[:0]
            case "head" | "picture" | "surplus":
                return self._text(view)
            case _:
                return self._json(view)

    def _json(self, view: memoryview) -> memoryview:
        kept = len(self._rest)
        searched_from = max(self._searched, kept - _KEY_BYTES)
        self._rest += view[: _MOST_REST_BYTES + 1]
        key = _KEY.search(self._rest, searched_from)
        if key is None:
            if len(self._rest) > _MOST_REST_BYTES:
                raise ValueError("the JSON around the image is longer than 1 MiB")
            return view[:0]
        del self._rest[key.end() :]
        self._searched = key.end()
        self._pictures += 1
        self._state = "head" if self._pictures == 1 else "surplus"
        self.gap = self.gap or key.end()
        self.surplus += self._state == "surplus"
        return view[key.end() - kept :]

    def _text(self, view: memoryview) -> memoryview:
        """Read base64 up to the closing quotation mark."""
        start = len(self._chunk) - len(view)
        end = self._chunk.find(b'"', start)
        text = view if end < 0 else view[: end - start]
        if self._state != "surplus":
            self._decode(self._unescape(text, start, ended=end >= 0), ended=end >= 0)
        if end < 0:
            return view[:0]
        self._state = "rest"
        return view[len(text) :]

    def _unescape(self, text: memoryview, start: int, *, ended: bool) -> memoryview:
        """Return the text with escapes resolved and line ends removed; a partial escape waits for more."""
        if not self._escape and self._chunk.find(b"\\", start, start + len(text)) < 0:
            return text
        joined = self._escape + text
        cut = None if ended else _UNFINISHED_ESCAPE.search(joined)
        self._escape = cut[0] if cut else b""
        return memoryview(_ESCAPE.sub(_unescape_match, joined[: len(joined) - len(self._escape)]))

    def _decode(self, text: memoryview, *, ended: bool) -> None:
        """Decode complete groups of four characters and carry the remainder over to the next part."""
        if self._state == "head" or self._carry:
            joined = b"".join((self._carry, text))
            self._carry = b""
            if self._state == "head":
                if len(joined) < _HEAD_BYTES and not ended:
                    self._carry = joined
                    return
                head = DATA_URL.match(joined[:_HEAD_BYTES].decode("latin-1"))
                joined = joined[head.end() :] if head else joined
                self._state = "picture"
            text = memoryview(joined)
        over = 0 if ended else len(text) % _QUAD
        self._carry = bytes(text[len(text) - over :])
        self._write_decoded(text[: len(text) - over])

    def _write_decoded(self, text: memoryview) -> None:
        if not len(text):
            return
        if self._padded:
            raise ValueError("not base64: data follows its end")
        self._padded = text[-1] == b"="[0]
        self._write(decode(text))


def _unescape_match(escape: re.Match[bytes]) -> bytes:
    if escape[2]:
        return b""
    return escape[1] or bytes.fromhex(escape[3].decode())
