"""Texts in the two blocks that JPEG and WebP have for them, EXIF and XMP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vllm_image_core.imaging import exif, xmp
from vllm_image_core.imaging.exif_text import utf_text

__all__ = ["KEYWORD", "MAX_BLOCK_BYTES", "Blocks", "blocks", "packet_text", "texts"]


KEYWORD = "parameters"
"""The keyword of the PNG text, the same in all of these tools."""


MAX_BLOCK_BYTES: Final = 1_048_576
"""A block of more than 1 MiB is not read."""

_COMFYUI: Final = ("prompt", "workflow")
"""ComfyUI's WebP has its JSON in EXIF's first directory, each after its name and a colon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The content of the two blocks, EXIF without its prefix; None where there is none."""

    exif: bytes | None = None
    xmp: bytes | None = None


def blocks(texts: Mapping[str, str], *, replaced: Blocks, alone: bool = False) -> Blocks:
    """The blocks that hold these texts; None where no text needs one.

    Args:
        texts: By keyword: "parameters", which becomes EXIF's UserComment, and a packet of XMP.
        replaced: What is there already: of a replaced EXIF, how the picture is turned is kept.
        alone: Whether all that is there already is replaced.

    Raises:
        ValueError: A keyword is another one.
    """
    if others := sorted(texts.keys() - {KEYWORD, xmp.KEYWORD}):
        raise ValueError(f"{others[0]!r} has no place in EXIF or XMP")
    comment, packet = texts.get(KEYWORD), texts.get(xmp.KEYWORD)
    orientation = exif.read(replaced.exif or b"").orientation
    if alone and orientation != 1:
        comment = comment or ""
    return Blocks(
        exif=None if comment is None else exif.encode(comment, orientation=orientation),
        xmp=None if packet is None else packet.encode("utf-8", "replace"),
    )


def texts(found: Blocks) -> dict[str, str]:
    """The texts in the blocks, by the keywords that they have in a PNG.

    UserComment is "parameters", and any more of them "UserComment 2" and so on; the description, the
    software, and what Windows writes stand under their own names.
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
        if text.lstrip().startswith("{"):  # early SwarmUI has its JSON where a camera has its model
            by_keyword.setdefault(f"EXIF {number}", text)
    return by_keyword | packet_text(found)


def packet_text(found: Blocks) -> dict[str, str]:
    """The packet of XMP alone, by its keyword; nothing if there is none."""
    if not found.xmp:
        return {}
    packet = found.xmp[:MAX_BLOCK_BYTES]
    is_wide = b"\0" in packet[:4] or packet.startswith((b"\xff\xfe", b"\xfe\xff"))
    return {xmp.KEYWORD: utf_text(packet, ">") if is_wide else packet.decode("utf-8", "replace")}
