"""Convert texts to and from the two metadata blocks of JPEG and WebP, EXIF and XMP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from vllm_image_core.imaging import exif, xmp
from vllm_image_core.imaging.exif_text import utf_text

KEYWORD = "parameters"
"""The keyword of the PNG text with the settings, the same in AUTOMATIC1111 and similar tools."""


MAX_BLOCK_BYTES: Final = 1_048_576
"""A block larger than 1 MiB is not read to its end."""

_COMFYUI: Final = ("prompt", "workflow")
"""In ComfyUI's WebP files the JSON texts are in EXIF's first directory, each after its name and a colon."""


class Chunk(NamedTuple):
    """A chunk's place in a PNG or WebP: its first byte, the length of its content, and the end behind it."""

    kind: bytes
    start: int
    length: int
    end: int

    @property
    def content(self) -> slice:
        """The slice of the file that holds its content, after eight bytes of length and kind."""
        return slice(self.start + 8, self.start + 8 + self.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The content of the two blocks, EXIF without its prefix; None if there is none."""

    exif: bytes | None = None
    xmp: bytes | None = None


def build_blocks(texts: Mapping[str, str], *, replaced: Blocks, alone: bool = False) -> Blocks:
    """Build the blocks that hold these texts; None if no text needs one.

    A text is "parameters", which becomes EXIF's UserComment, or an XMP packet. The orientation of a replaced
    EXIF is kept; `alone` replaces all present texts. Any other keyword is a ValueError.
    """
    if others := sorted(texts.keys() - {KEYWORD, xmp.KEYWORD}):
        raise ValueError(f"{others[0]!r} cannot be stored in EXIF or XMP")
    comment, packet = texts.get(KEYWORD), texts.get(xmp.KEYWORD)
    orientation = exif.read(replaced.exif or b"").orientation
    if alone and orientation != 1:
        comment = comment or ""
    return Blocks(
        exif=None if comment is None else exif.encode(comment, orientation=orientation),
        xmp=None if packet is None else packet.encode("utf-8", "replace"),
    )


def read_texts(found: Blocks) -> dict[str, str]:
    """Read the texts in the blocks, by the keywords that they have in a PNG.

    UserComment is "parameters", and further ones are "UserComment 2" and so on; the description, the
    software, and what Windows writes have their own names.
    """
    read = exif.read((found.exif or b"")[:MAX_BLOCK_BYTES])
    by_keyword = {} if read.comment is None else {KEYWORD: read.comment}
    for number, comment in enumerate(read.more_comments, start=2):
        by_keyword[f"UserComment {number}"] = comment
    for text in (*read.texts, *read.named.values()):
        name, colon, rest = text.partition(":")
        if colon and name.strip().lower() in _COMFYUI:
            by_keyword.setdefault(name.strip().lower(), rest)
    by_keyword |= read.named
    for number, text in enumerate(read.texts):
        if text.lstrip().startswith("{"):  # early SwarmUI writes its JSON where a camera writes its model
            by_keyword.setdefault(f"EXIF {number}", text)
    return by_keyword | packet_text(found)


def packet_text(found: Blocks) -> dict[str, str]:
    """Return only the XMP packet, by its keyword; empty if there is none."""
    if not found.xmp:
        return {}
    packet = found.xmp[:MAX_BLOCK_BYTES]
    is_wide = b"\0" in packet[:4] or packet.startswith((b"\xff\xfe", b"\xfe\xff"))
    return {xmp.KEYWORD: utf_text(packet, ">") if is_wide else packet.decode("utf-8", "replace")}
