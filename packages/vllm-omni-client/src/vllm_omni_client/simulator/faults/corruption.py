"""Corrupt a good reply before it is sent: change its body or its images, or cut it short."""

import base64
import io
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from PIL import Image

from vllm_omni_client.simulator.faults.fault import Fault

_MEBIBYTE = 1024 * 1024
_GZIP = 31  # zlib's name for that container
_JUNK = "!not*base64!"
_CUT_SHORT = frozenset(("truncate", "reset-in"))
_WRONG_TYPES: Mapping[str, object] = {
    "created": "yesterday",
    "data": {"b64_json": 7},
    "output_format": ["png"],
    "size": 64,
    "metrics": "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteReply:
    """A complete reply."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def media_type(self) -> str:
        """The content type, without parameters."""
        value = next((value for name, value in self.headers if name.lower() == b"content-type"), b"")
        return value.decode("latin-1").partition(";")[0].strip().lower()

    def with_body(self, body: bytes, **headers: str) -> "CompleteReply":
        """Replace the body, its content length, and the given headers (with underscores for hyphens)."""
        replaced = {name.replace("_", "-"): value for name, value in headers.items()}
        replaced["content-length"] = str(len(body))
        unchanged = [pair for pair in self.headers if pair[0].decode("latin-1").lower() not in replaced]
        added = [(name.encode(), value.encode("latin-1")) for name, value in replaced.items()]
        return replace(self, headers=(*unchanged, *added), body=body)


def corrupt(fault: Fault, reply: CompleteReply) -> CompleteReply:
    """Apply the fault to the reply; an error, or a reply that the fault does not concern, stays as it is."""
    corrupt_bytes = _CORRUPTIONS.get(fault.kind)
    if corrupt_bytes is None or reply.status != 200:  # noqa: PLR2004 - only images are corrupted
        return reply
    return corrupt_bytes(fault, reply)


def sent_part(fault: Fault, reply: CompleteReply) -> bytes:
    """Return the part of the body to send: the first half if the fault cuts the reply short, else all."""
    return reply.body[: len(reply.body) // 2] if fault.kind in _CUT_SHORT else reply.body


def gzip_bomb(mebibytes: int) -> bytes:
    """Compress this many mebibytes to about a thousandth of that size."""
    packer = zlib.compressobj(wbits=_GZIP)
    block = b"A" * _MEBIBYTE
    packed = [packer.compress(block) for _ in range(mebibytes)]
    return b"".join([*packed, packer.flush()])


def _with_data(reply: CompleteReply, change: Callable[[list[str]], list[str]]) -> CompleteReply:
    """Change the base64 strings of a reply; a reply without images in `data` is returned as it is."""
    document = cast("object", json.loads(reply.body)) if reply.media_type == "application/json" else None
    pictures = _pictures(document)
    if not (pictures and isinstance(document, dict)):
        return reply
    changed = change([cast("str", picture["b64_json"]) for picture in pictures])
    data = [
        {**picture, "b64_json": text} for picture, text in zip(pictures[: len(changed)], changed, strict=True)
    ]
    return reply.with_body(json.dumps({**document, "data": data}, separators=(",", ":")).encode())


def _pictures(document: object) -> list[dict[str, object]]:
    data = cast("dict[str, object]", document).get("data") if isinstance(document, dict) else None
    listed = cast("list[dict[str, object]]", data) if isinstance(data, list) else []
    return listed if all(isinstance(each.get("b64_json"), str) for each in listed) else []


def _with_images(reply: CompleteReply, change: Callable[[Image.Image], Image.Image]) -> CompleteReply:
    """Change the images of a reply and encode them in the format they had."""

    def encode_changed(content: bytes) -> bytes:
        with Image.open(io.BytesIO(content)) as picture:
            buffer = io.BytesIO()
            change(picture.convert("RGB")).save(buffer, picture.format)
        return buffer.getvalue()

    if reply.media_type.startswith("image/"):
        return reply.with_body(encode_changed(reply.body))
    return _with_data(
        reply,
        lambda strings: [
            base64.b64encode(encode_changed(base64.b64decode(text))).decode() for text in strings
        ],
    )


_CORRUPTIONS: Mapping[str, Callable[[Fault, CompleteReply], CompleteReply]] = {
    "no-json": lambda _, reply: reply.with_body(b'{"created": 17, "data": ['),
    "wrong-types": lambda _, reply: reply.with_body(json.dumps(_WRONG_TYPES).encode()),
    "gzip-bomb": lambda fault, reply: reply.with_body(gzip_bomb(fault.mebibytes), content_encoding="gzip"),
    "fewer": lambda _, reply: _with_data(reply, lambda strings: strings[:-1]),
    "junk-base64": lambda _, reply: _with_data(
        reply, lambda strings: [_JUNK + text[len(_JUNK) :] for text in strings]
    ),
    "black": lambda _, reply: _with_images(reply, lambda picture: Image.new("RGB", picture.size)),
    "wrong-size": lambda _, reply: _with_images(reply, lambda picture: picture.reduce(2)),
}
