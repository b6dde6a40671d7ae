"""A picture's record: what the index knows of one file."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, TypeGuard, cast

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import jpeg, png, webp
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.sniffing import picture_format
from vllm_image_core.provenance.recipe import KEYWORD, recipe_in
from vllm_image_core.requests.image_request import ImageRequest, OutputFormat
from vllm_image_core.requests.limits import MAX_SEED, MIN_SEED
from vllm_image_core.storage.edit_inputs import recall_edit
from vllm_image_core.storage.folder import Folder

__all__ = ["Facts", "Record", "read_record", "record"]

Facts = Mapping[str, object]
"""How a picture was made, as its file tells it: untrusted, by the names in the file."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

MAX_CHARACTERS: Final = 100_000
"""The longest text of a file's metadata that is kept; no prompt is longer."""

_SIZES: Final = {"png": png.size, "jpeg": jpeg.size, "webp": webp.size}

_READERS: Final = {"png": png.read_texts, "jpeg": jpeg.read_packet, "webp": webp.read_packet}
"""Where our own facts are: in a PNG among its texts, elsewhere in XMP."""

_FORMATS: Final[Mapping[str, OutputFormat]] = {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}

_HEAD_BYTES: Final = 65_536
"""Where the texts of a PNG are, unless another program has put much before them."""
_MOST_BYTES: Final = 67_108_864
"""Nothing is read beyond 64 MiB: our texts are in the first ones, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of one picture; None for what its file does not tell.

    Attributes:
        path: Absolute.
        bytes: The file's size.
        modified_ns: When the file was last written, in nanoseconds since 1970.
        created: When the picture was made, in UTC, to the second.
        width: Pixels.
        height: Pixels.
        key: The hash of the resolved request; see `content_key`.
        prompt: As it was sent.
        negative_prompt: As it was sent.
        model: The server's name for the model.
        seed: As it was sent.
        num_inference_steps: As it was sent.
        guidance_scale: In the caller's terms.
        seconds: From sending to the whole reply.
        batch: The id of the batch that it belongs to.
        tag: The caller's own word for it.
        position: Its place in that batch, from 0.
        operation: "edit" for one that was made of other pictures; None for one that was made from a text.
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

    @property
    def output_format(self) -> OutputFormat | None:
        """The format that its name tells; None for PNG."""
        return _FORMATS.get(self.path.suffix)

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    def as_request(self) -> ImageRequest | None:
        """The request that makes it again; None where its file does not tell a prompt.

        Of an edit it is an `EditRequest` with its pictures, for which this waits for the disk; None where
        these are not in the folder any more, nor among the copies that its batches keep.
        """
        if self.prompt is None:
            return None
        if self.operation == "edit":
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
        )


def record(path: Path, status: os.stat_result, size: Size, facts: Facts) -> Record:
    """The record of a file: its own size and time, and what is usable of the facts."""
    return Record(
        path=path,
        bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        created=_time(facts.get("created")) or _written_at(status),
        width=size.width,
        height=size.height,
        key=_text(facts.get("key")),
        prompt=_text(facts.get("prompt")),
        negative_prompt=_text(facts.get("negative_prompt")),
        model=_text(facts.get("model")),
        seed=_integer(facts.get("seed")),
        num_inference_steps=_integer(facts.get("num_inference_steps")),
        guidance_scale=_number(facts.get("guidance_scale")),
        seconds=_number(facts.get("seconds")),
        batch=_text(facts.get("batch")),
        tag=_text(facts.get("tag")),
        position=_integer(facts.get("position")),
        operation="edit" if facts.get("operation") == "edit" else None,
    )


def read_record(folder: Folder, name: str) -> Record | None:
    """The record of a file in an open folder; None for one that is no picture, or a link to one elsewhere.

    Only what is needed is read: a picture's pixels are not.

    Raises:
        OSError: The file cannot be read.
    """
    with folder.reading(name) as file:
        if file is None:
            return None
        status = os.fstat(file.fileno())
        data = file.read(_HEAD_BYTES)
        if not _tells_enough(data):
            data += file.read(_MOST_BYTES - len(data))
    size = _header_size(data)
    return None if size is None else record(folder.path / name, status, size, facts_in(data))


def facts_in(data: bytes) -> Facts:
    """What the first bytes of a picture tell of how it was made; nothing where they tell nothing usable."""
    text = recipe_in(_READERS[picture_format(data) or "png"](data))
    if text is None:
        return {}
    try:
        facts: object = json.loads(text)
    except (ValueError, RecursionError):  # hostile texts: other syntax, huge numbers, a thousand brackets
        return {}
    return cast("dict[str, object]", facts) if isinstance(facts, dict) else {}


def _written_at(status: os.stat_result) -> datetime:
    try:
        return EPOCH + timedelta(seconds=status.st_mtime_ns // 10**9)
    except OverflowError:  # after the year 9999
        return EPOCH


def _tells_enough(head: bytes) -> bool:
    """Whether our text is in the first bytes, if it is anywhere; not every format has its texts there."""
    if len(head) < _HEAD_BYTES:
        return True
    return picture_format(head) == "png" and (b"IDAT" in head or KEYWORD in read_text(head))


def _header_size(data: bytes) -> Size | None:
    kind = picture_format(data)
    try:
        return None if kind is None else _SIZES[kind](data)
    except BadPicture:
        return None


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    # Lone surrogates cannot be stored; PNG texts have U+FFFD for them, too.
    return value[:MAX_CHARACTERS].encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _integer(value: object) -> int | None:
    return value if _is_integer(value) and MIN_SEED <= value <= MAX_SEED else None


def _number(value: object) -> float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return float(value) if _is_integer(value) and MIN_SEED <= value <= MAX_SEED else None


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _time(value: object) -> datetime | None:
    """A time in UTC, to the second; one without a zone is the local time."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError, OSError):  # no time, or one that no clock has shown
        return None
