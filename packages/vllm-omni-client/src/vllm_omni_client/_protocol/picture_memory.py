"""Keep a reply's image in memory, decoding and checking it as it arrives.

Only the usual reply is read so: one complete image, bare or in JSON. The body of any other one is kept as it
came, to be read and judged when it is complete.
"""

from collections.abc import Callable
from typing import Final

from vllm_omni_client._imaging.picture import Inspection
from vllm_omni_client._protocol.picture_stream import PictureStream
from vllm_omni_client.replies import ImageGenerationReply, ReplyImage

_PLACEHOLDER: Final = b"AAAA"
"""Base64 that stands for the image while the JSON around it is parsed."""
_PLACEHOLDER_BYTES: Final = bytes(3)


class PictureMemory:
    """The image of one reply; each attempt starts over.

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
        self._body: list[bytes] = []
        self._parts: list[bytes | memoryview] = []
        self._inspection = Inspection(most_pixels=self._most_pixels)
        self._stream: PictureStream | None = PictureStream(self._take)
        self._reply: ImageGenerationReply | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next part of the body."""
        self._body.append(chunk)
        if self._stream is not None:
            try:
                self._stream.feed(chunk)
            except ValueError:
                self._stream = None

    def finish(self) -> bytes:
        """Return the body of an unusual reply; nothing if the image has been read."""
        body, self._body = self._body, []
        try:
            self._reply = self._read()
        except ValueError:
            return b"".join(body)
        finally:
            self._stream, self._parts = None, []
        return b"".join(body) if self._reply is None else b""

    def decode(self, body: bytes) -> ImageGenerationReply:
        """Return the reply, given what `finish` returned. Raises ValueError if it breaks the contract."""
        return self._otherwise(body) if self._reply is None else self._reply

    def _read(self) -> ImageGenerationReply | None:
        """Return the reply if it is the usual one. Raises ValueError for some that are not."""
        stream = self._stream
        if stream is None or stream.surplus or not self._parts:
            return None
        envelope = stream.finish()
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
