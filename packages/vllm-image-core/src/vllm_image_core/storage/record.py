"""Read the record of an image file, as the index stores it, from its metadata."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeGuard, cast

from vllm_image_core.display.card import Card, Displayed, time_text
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import jpeg, png, webp
from vllm_image_core.imaging.extension import FORMATS
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.sniffing import picture_format, picture_size
from vllm_image_core.provenance.recipe import KEYWORD, find_recipe
from vllm_image_core.requests.fields import REQUEST_FIELDS, OutputFormat, PlainFields, plain_values
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.limits import MAX_SEED, MIN_SEED
from vllm_image_core.storage.folder import Folder
from vllm_image_core.text import folder_text

Facts = Mapping[str, object]
"""How an image was made, under the names used in its file; untrusted."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

MAX_CHARACTERS: Final = 100_000
"""Longer text from a file's metadata is truncated; no prompt is this long."""

_READERS: Final = {"png": png.read_texts, "jpeg": jpeg.read_packet, "webp": webp.read_packet}
"""Readers of our own metadata: a PNG holds it in its text chunks, other formats in XMP."""

_HEADS: Final = (8_192, 65_536)
"""Our metadata is in this many first bytes, unless the prompt is long or another program put much
before it."""

_MOST_BYTES: Final = 67_108_864
"""Nothing is read beyond 64 MiB: our metadata is within the first 64 MiB, or not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Displayed, PlainFields):
    """What is known about one image; None for what its file does not record.

    Attributes:
        path: Absolute path of the file.
        bytes: The size of the file.
        modified_ns: When the file was last written, in nanoseconds since 1970.
        created: When the image was generated, in UTC, to the second.
        width: Pixels.
        height: Pixels.
        key: The hash of the resolved request; see `content_key`.
        prompt: As it was sent.
        negative_prompt: As it was sent.
        model: The server's name for the model.
        seed: As it was sent.
        num_inference_steps: As it was sent.
        guidance_scale: The value in the caller's terms.
        seconds: The time from sending to the complete reply.
        batch: The id of the batch that it belongs to.
        tag: The caller's own label.
        position: Its place in that batch, from 0.
        operation: "edit" if it was made from other images; None if it was generated from text.
        kept: Whether somebody kept it; see `Studio.rate`.
        stars: Its rating, 1 to 5.
    """

    path: Path
    bytes: int
    modified_ns: int
    created: datetime
    width: int
    height: int
    key: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    model: str | None = None
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seconds: float | None = None
    batch: str | None = None
    tag: str | None = None
    position: int | None = None
    operation: Literal["edit"] | None = None
    kept: bool = False
    stars: int | None = None

    @property
    def output_format(self) -> OutputFormat | None:
        """The format according to the file extension; None for PNG."""
        found = FORMATS.get(self.path.suffix)
        return None if found == "png" else found

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    def _card(self) -> Card:
        from vllm_image_core.display.thumbnails import LARGE, Thumbnail  # noqa: PLC0415 - for notebooks alone

        return Card(
            title=self.path.name,
            facts={
                "prompt": self.prompt,
                "size": self.size,
                "seed": self.seed,
                "steps": self.num_inference_steps,
                "time": time_text(self.seconds),
                "folder": folder_text(self.path.parent),
            },
            images=(Thumbnail(self.path, self.prompt or self.path.name),),
            side=LARGE,
        )

    def as_request(self) -> ImageRequest | None:
        """Return the request that reproduces the image; None if its file does not record a prompt.

        For an edit, this is an `EditRequest` with its input images, and reading them blocks on the disk; None
        if they are no longer in the folder or among the copies that its batches keep.
        """
        if self.prompt is None:
            return None
        if self.operation == "edit":
            from vllm_image_core.storage.edit_inputs import recall_edit  # noqa: PLC0415 - no search needs it

            edit = recall_edit(self.path)
            return edit and replace(edit, tag=self.tag, output_format=self.output_format)
        return ImageRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            width=self.width,
            height=self.height,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
            tag=self.tag,
            output_format=self.output_format,
            **plain_values(self),
        )


def record(path: Path, status: os.stat_result, size: Size, facts: Facts) -> Record:
    """Build the record of a file from its status, the image's size and the usable facts."""
    return Record(
        path=path,
        bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        created=_time(facts.get("created")) or _written_at(status),
        width=size.width,
        height=size.height,
        key=_text(facts.get("key")),
        model=_text(facts.get("model")),
        seconds=_number(facts.get("seconds")),
        batch=_text(facts.get("batch")),
        position=_integer(facts.get("position")),
        operation="edit" if facts.get("operation") == "edit" else None,
        **{name: read(facts.get(name)) for name, read in _REPORTED.items()},
    )


def read_record(folder: Folder, name: str) -> Record | None:
    """Read the record of a file in an open folder; None if it is not an image, or is a link.

    Reads only what is needed, and does not decode pixels.
    """
    with folder.reading(name) as file:
        if file is None:
            return None
        status = os.fstat(file.fileno())
        data = b""
        for length in (*_HEADS, _MOST_BYTES):
            data += file.read(length - len(data))
            if len(data) < length or _has_metadata(data):
                break
    size = _header_size(data)
    return None if size is None else record(folder.path / name, status, size, facts_in(data))


def facts_in(data: bytes) -> Facts:
    """Return what the first bytes of an image record about how it was made; empty if nothing is usable."""
    kind = picture_format(data)
    text = kind and find_recipe(_READERS[kind](data))
    if text is None:
        return {}
    try:
        facts: object = json.loads(text)
    except (ValueError, RecursionError):  # hostile text: invalid JSON, huge numbers, deep nesting
        return {}
    return cast("dict[str, object]", facts) if isinstance(facts, dict) else {}


def _written_at(status: os.stat_result) -> datetime:
    try:
        return EPOCH + timedelta(seconds=status.st_mtime_ns // 10**9)
    except OverflowError:  # after the year 9999
        return EPOCH


def _has_metadata(head: bytes) -> bool:
    """Return whether the first bytes of a file hold our metadata, or show that it has none."""
    match picture_format(head):
        case "png":
            return b"IDAT" in head or KEYWORD in read_text(head)
        case "jpeg":
            return jpeg.has_scan(head)
        case "webp":
            return not webp.has_packet(head)
        case None:
            return True


def _header_size(data: bytes) -> Size | None:
    try:
        return picture_size(data)
    except BadPicture:
        return None


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    # Lone surrogates cannot be stored; PNG text has U+FFFD for them too.
    return value[:MAX_CHARACTERS].encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _integer(value: object) -> int | None:
    return value if _is_integer(value) and MIN_SEED <= value <= MAX_SEED else None


def _number(value: object) -> float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return float(value) if _is_integer(value) and MIN_SEED <= value <= MAX_SEED else None


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _object(value: object) -> dict[str, object] | None:
    """Take an object of a size that can be stored; a hostile file may nest it deeper than can be written."""
    if not isinstance(value, dict):
        return None
    try:
        fits = len(json.dumps(value)) <= MAX_CHARACTERS
    except RecursionError:
        return None
    return cast("dict[str, object]", value) if fits else None


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


_READERS_BY_KIND: Final[Mapping[str, Callable[[object], Any]]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "object": _object,
}


_REPORTED: Final[Mapping[str, Callable[[object], Any]]] = {
    each.name: _READERS_BY_KIND.get(each.kind, _text)
    for each in REQUEST_FIELDS
    if each.indexed and each.name not in {"width", "height"}
}
"""How to read the fields that only the file's metadata has."""


def _time(value: object) -> datetime | None:
    """Parse a time in UTC, to the second; a time without a zone is local."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError, OSError):  # not a time, or out of range
        return None
