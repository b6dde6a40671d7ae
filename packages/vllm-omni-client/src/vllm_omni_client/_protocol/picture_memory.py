"""Keep a reply's image in memory, decoding and checking it as it arrives.

Only the usual reply is read this way: one complete image, bare or in JSON. Any other body is kept as it came,
and read and checked when it is complete.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import pybase64

from vllm_omni_client._imaging.picture import Inspection
from vllm_omni_client._protocol.picture_stream import PictureStream
from vllm_omni_client.replies import ImageGenerationReply, ReplyImage

_PLACEHOLDER: Final = b"AAAA"
"""Base64 that stands for the image while the JSON around it is parsed."""
_PLACEHOLDER_BYTES: Final = bytes(3)


class _Mark(NamedTuple):
    """A place in the body: the bytes that are decoded up to there, and the base64 that is not."""

    decoded: int
    text: bytes


@dataclass(frozen=True, slots=True)
class _DecodedPart:
    """A part of the body that only the decoded image still holds."""

    start: _Mark
    end: _Mark

    def restore(self, image: memoryview, *, is_raw: bool) -> bytes:
        """Return it as it came."""
        decoded = image[self.start.decoded : self.end.decoded]
        if is_raw:
            return bytes(decoded)
        return pybase64.b64encode(decoded)[len(self.start.text) :] + self.end.text


class PictureMemory:
    """The image of one reply; each attempt starts over.

    The text of the image is not kept once it is decoded. If the reply turns out to be an unusual one, its
    body is restored from the image.

    Args:
        most_pixels: An image that claims to be larger is not read here.
        otherwise: Reads a body that is not the usual reply; raises ValueError if it breaks the contract.
    """

    def __init__(self, *, most_pixels: int, otherwise: Callable[[bytes], ImageGenerationReply]) -> None:
        self._most_pixels = most_pixels
        self._otherwise = otherwise
        self.begin()

    def begin(self) -> None:
        """Discard everything that an earlier attempt received."""
        self._body: list[bytes | _DecodedPart] = []
        self._parts: list[bytes | memoryview] = []
        self._decoded = 0
        self._inspection = Inspection(most_pixels=self._most_pixels)
        self._stream = PictureStream(self._take)
        self._is_usual = True
        self._reply: ImageGenerationReply | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next part of the body."""
        start, end = self._mark(), None
        if self._is_usual:
            try:
                self._stream.feed(chunk)
                end = self._mark()
            except ValueError:
                self._is_usual = False
        if start is None or end is None:
            self._body.append(chunk)
        elif self._body and isinstance(last := self._body[-1], _DecodedPart):
            self._body[-1] = _DecodedPart(last.start, end)
        else:
            self._body.append(_DecodedPart(start, end))

    def finish(self) -> bytes:
        """Return the body of an unusual reply; nothing if the image has been read."""
        try:
            self._reply = self._read()
        except ValueError:
            self._reply = None
        body = self._restore_body() if self._reply is None else b""
        self._body, self._parts, self._is_usual = [], [], False
        return body

    def decode(self, body: bytes) -> ImageGenerationReply:
        """Return the reply, given what `finish` returned. Raises ValueError if it breaks the contract."""
        return self._otherwise(body) if self._reply is None else self._reply

    def _mark(self) -> _Mark | None:
        """Return the current place if it is within the image's text."""
        text = self._stream.undecoded if self._is_usual else None
        return None if text is None else _Mark(self._decoded, text)

    def _restore_body(self) -> bytes:
        image = memoryview(b"".join(self._parts))
        return b"".join(
            part.restore(image, is_raw=self._stream.is_raw) if isinstance(part, _DecodedPart) else part
            for part in self._body
        )

    def _read(self) -> ImageGenerationReply | None:
        """Return the reply if it is the usual one. Raises ValueError for some that are not."""
        stream = self._stream
        envelope = stream.finish()
        if not self._is_usual or stream.surplus or not self._decoded:
            return None
        inspected = self._inspection.finish()
        data = b"".join(self._parts)
        if stream.gap is None:
            image = ReplyImage(bytes=data).with_inspection(inspected)
            return ImageGenerationReply(
                data=(image,), output_format=inspected.format, size=str(inspected.size)
            )
        reply = ImageGenerationReply.model_validate_json(
            envelope[: stream.gap] + _PLACEHOLDER + envelope[stream.gap :]
        )
        if len(reply.data) != 1 or reply.data[0].bytes != _PLACEHOLDER_BYTES:
            return None
        image = reply.data[0].model_copy(update={"bytes": data}).with_inspection(inspected)
        return reply.model_copy(update={"data": (image,)})

    def _take(self, part: bytes | memoryview) -> None:
        self._inspection.feed(part)
        self._parts.append(part)
        self._decoded += len(part)
