"""A good reply made bad: what faults do to it before it is sent."""

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
_WRONG_TYPES: Mapping[str, object] = {
    "created": "yesterday",
    "data": {"b64_json": 7},
    "output_format": ["png"],
    "size": 64,
    "metrics": "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole reply."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        value = next((value for name, value in self.headers if name.lower() == b"content-type"), b"")
        return value.decode("latin-1").partition(";")[0].strip().lower()

    def with_body(self, body: bytes, **headers: str) -> "Reply":
        """The reply with another body, of whatever length; headers are named with underscores."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        changed["content-length"] = str(len(body))
        kept = [pair for pair in self.headers if pair[0].decode("latin-1").lower() not in changed]
        added = [(name.encode(), value.encode("latin-1")) for name, value in changed.items()]
        return replace(self, headers=(*kept, *added), body=body)


def corrupt(fault: Fault, reply: Reply) -> Reply:
    """The reply after the fault; an error stays what it is, and so does a fault that has nothing to spoil."""
    corrupt_bytes = _CORRUPTIONS.get(fault.kind)
    if corrupt_bytes is None or reply.status != 200:  # noqa: PLR2004 - only pictures are spoilt
        return reply
    return corrupt_bytes(fault, reply)


def gzip_bomb(mebibytes: int) -> bytes:
    """About a thousandth of the size that it unpacks to."""
    packer = zlib.compressobj(wbits=_GZIP)
    block = b"A" * _MEBIBYTE
    packed = [packer.compress(block) for _ in range(mebibytes)]
    return b"".join([*packed, packer.flush()])


def _with_data(reply: Reply, change: Callable[[list[str]], list[str]]) -> Reply:
    """The reply with its base64 texts changed; one without pictures in `data` as it is."""
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


def _redrawn(reply: Reply, change: Callable[[Image.Image], Image.Image]) -> Reply:
    """The reply with its pictures changed, in the format that they have."""

    def redrawn(content: bytes) -> bytes:
        with Image.open(io.BytesIO(content)) as picture:
            buffer = io.BytesIO()
            change(picture.convert("RGB")).save(buffer, picture.format)
        return buffer.getvalue()

    if reply.media_type.startswith("image/"):
        return reply.with_body(redrawn(reply.body))
    return _with_data(
        reply,
        lambda texts: [base64.b64encode(redrawn(base64.b64decode(text))).decode() for text in texts],
    )


_CORRUPTIONS: Mapping[str, Callable[[Fault, Reply], Reply]] = {
    "no-json": lambda _, reply: reply.with_body(b'{"created": 17, "data": ['),
    "wrong-types": lambda _, reply: reply.with_body(json.dumps(_WRONG_TYPES).encode()),
    "gzip-bomb": lambda fault, reply: reply.with_body(gzip_bomb(fault.mebibytes), content_encoding="gzip"),
    "fewer": lambda _, reply: _with_data(reply, lambda texts: texts[:-1]),
    "junk-base64": lambda _, reply: _with_data(
        reply, lambda texts: [_JUNK + text[len(_JUNK) :] for text in texts]
    ),
    "black": lambda _, reply: _redrawn(reply, lambda picture: Image.new("RGB", picture.size)),
    "wrong-size": lambda _, reply: _redrawn(reply, lambda picture: picture.reduce(2)),
}
