"""Check PNG files, and read and write their text chunks, without decoding a pixel.

Source: PNG (Third Edition), W3C Recommendation of 24 June 2025, sections 5, 11 and 13.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping

from vllm_omni_client.imaging import SIGNATURE, DamagedPicture, PngWalk

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import exif, metadata_blocks
from vllm_image_core.imaging.metadata_blocks import Blocks, Chunk
from vllm_image_core.text import TextTooLong

MAX_TEXT_BYTES = 1_048_576
"""Text longer than 1 MiB is neither written nor read; Pillow has the same limit."""

MAX_TEXTS = 64
"""How many texts are read from one file."""

_MAX_CHUNKS = 65_536
"""libpng splits the largest image that vLLM-Omni generates into about 17,000 chunks of 8 KiB."""

_HEADER = struct.Struct(">I4s")
_FRAME_BYTES = 12
_IHDR_END = 33
_TEXT_KINDS = (b"tEXt", b"zTXt", b"iTXt")
_EXIF = b"eXIf"
_PROFILES = ("Raw profile type exif", "Raw profile type APP1")
"""How ImageMagick stored EXIF in PNG before there was a chunk for it: as text in hexadecimal."""
_ALWAYS_INTERNATIONAL = "XML:com.adobe.xmp"
"""Section 11.3.3.4: XMP is always in an iTXt chunk, whatever its characters."""


def check(data: bytes) -> int:
    """Check that a PNG is complete, and return its length in bytes.

    Every chunk must be there with its checksum, in order, up to IEND, and only spaces and zero bytes may
    follow. The pixels are not decompressed, but there must be enough compressed data for the size.
    """
    walk = PngWalk()
    try:
        walk.feed(data)
        walk.finish()
    except DamagedPicture as error:
        raise _bad(error) from error
    *_, last = chunks(data)
    return last.end


def write_texts(data: bytes, texts: Mapping[str, str], *, alone: bool = False) -> bytes:
    """Write texts into a checked PNG as `splice_texts` does, and return the new file's content."""
    return b"".join(splice_texts(data, texts, alone=alone))


def splice_texts(data: bytes, texts: Mapping[str, str], *, alone: bool = False) -> tuple[bytes, memoryview]:
    """Write texts into a checked PNG, replacing earlier ones by keyword; all other bytes are kept.

    Text in Latin-1 goes into a tEXt chunk; any other text, and XMP, into an iTXt chunk, as in Pillow. So does
    Latin-1 text that could be read as UTF-8, which many programs write into tEXt. `alone` also removes all
    other texts and EXIF. A keyword must have 1 to 79 printable Latin-1 characters, and a text at most 1 MiB.

    Returns the start of the file, and the rest, which is not copied: usually all pixels.
    """
    view = memoryview(data)
    parts = [view[:_IHDR_END], *(_text_chunk(keyword, text) for keyword, text in texts.items())]
    kept_from = _IHDR_END
    for chunk in chunks(data):
        is_text = chunk.kind in _TEXT_KINDS
        if (alone and (is_text or chunk.kind == _EXIF)) or (
            is_text and _keyword(view[chunk.content]) in texts
        ):
            parts.append(view[kept_from : chunk.start])
            kept_from = chunk.end
    return b"".join(parts), view[kept_from:]


def read_texts(data: bytes) -> dict[str, str]:
    """Read the texts of a PNG by keyword, even from a damaged file; the last text of a keyword counts.

    Texts from EXIF, including EXIF that ImageMagick stored as text, are added as for JPEG and WebP, unless a
    PNG text has the same keyword.

    Returns at most 64 texts of at most 1 MiB each (decompressed), without damaged ones. Others wrote them:
    they are data, never a path or an instruction.
    """
    texts: dict[str, str] = {}
    blocks: list[bytes] = []
    view = memoryview(data)
    all_chunks = chunks(data) if data.startswith(SIGNATURE) else ()
    kinds = (*_TEXT_KINDS, _EXIF)
    found = (chunk for chunk in all_chunks if chunk.kind in kinds and chunk.length <= MAX_TEXT_BYTES)
    for count, chunk in enumerate(found, start=1):
        if count > MAX_TEXTS:
            break
        if not _has_its_checksum(view, chunk):
            continue
        if chunk.kind == _EXIF:
            blocks.append(bytes(view[chunk.content]))
            continue
        text = _text(chunk.kind, bytes(view[chunk.content]))
        if text is not None:
            texts[_keyword(view[chunk.content])] = text
    blocks += [block for name in _PROFILES if (block := _profile(texts.get(name, "")))]
    return {**metadata_blocks.read_texts(Blocks(exif=blocks[0])), **texts} if blocks else texts


def orientation(data: bytes) -> int:
    """Return the EXIF orientation: how a viewer must turn the image; 1 (upright) if there is none."""
    found = (chunk for chunk in chunks(data) if chunk.kind == _EXIF and chunk.length <= MAX_TEXT_BYTES)
    return next((exif.read(data[chunk.content]).orientation for chunk in found), 1)


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield each complete chunk of a PNG, up to IEND or the first damaged or incomplete one."""
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + _FRAME_BYTES > len(data):
            return
        length, kind = _HEADER.unpack_from(data, position)
        chunk = Chunk(kind, position, length, position + _FRAME_BYTES + length)
        if chunk.end > len(data) or not kind.isalpha():
            return
        yield chunk
        if kind == b"IEND":
            return
        position = chunk.end


def _has_its_checksum(view: memoryview, chunk: Chunk) -> bool:
    expected = int.from_bytes(view[chunk.end - 4 : chunk.end])
    return zlib.crc32(view[chunk.start + 4 : chunk.end - 4]) == expected


def _bad(error: DamagedPicture) -> BadPicture:
    message = str(error)
    return BadPicture(f"{message[:1].upper()}{message[1:]}.")


def _text_chunk(keyword: str, text: str) -> bytes:
    """Encode a tEXt or iTXt chunk. Zero bytes and lone surrogates, invalid in both, become U+FFFD."""
    name = _encode_keyword(keyword)
    clean = text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if (
        keyword != _ALWAYS_INTERNATIONAL
        and max(clean, default="") <= "\xff"
        and _latin_1_or_utf_8(clean.encode("latin-1")) == clean
    ):
        kind, content = b"tEXt", name + b"\0" + clean.encode("latin-1")
    else:
        kind, content = b"iTXt", name + b"\0\0\0\0\0" + clean.encode()
    if len(content) > MAX_TEXT_BYTES:
        raise TextTooLong(keyword, len(content), MAX_TEXT_BYTES)
    return _HEADER.pack(len(content), kind) + content + zlib.crc32(kind + content).to_bytes(4)


def _encode_keyword(keyword: str) -> bytes:
    if not 1 <= len(keyword) <= 79 or keyword != keyword.strip() or not keyword.isprintable():  # noqa: PLR2004 - 11.3.3.2
        raise ValueError(f"{keyword!r} is not a keyword of 1 to 79 printable characters")
    return keyword.encode("latin-1")  # UnicodeEncodeError is a ValueError


def _keyword(content: bytes | memoryview) -> str:
    return bytes(content[:80]).partition(b"\0")[0].decode("latin-1")


def _text(kind: bytes, content: bytes) -> str | None:
    """Decode the text in a chunk's content; None if it is damaged, or too long when decompressed."""
    keyword, zero, rest = content.partition(b"\0")
    if not zero or not 1 <= len(keyword) <= 79:  # noqa: PLR2004 - section 11.3.3.2
        return None
    if kind == b"tEXt":
        return _latin_1_or_utf_8(rest)
    if kind == b"zTXt":
        unpacked = _unpack(rest[1:]) if rest[:1] == b"\0" else None
        return None if unpacked is None else _latin_1_or_utf_8(unpacked)
    return _international_text(rest)


def _latin_1_or_utf_8(content: bytes) -> str:
    """Decode text that should be Latin-1 by section 11.3.3.2, but that many programs write as UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _profile(text: str) -> bytes:
    """Decode the EXIF block in ImageMagick's text: a name, a length, and lines of hexadecimal digits."""
    _, _, digits = text.strip().partition("\n")
    _, _, digits = digits.strip().partition("\n")
    try:
        block = bytes.fromhex(digits)
    except ValueError:
        return b""
    return block if block.startswith(exif.PREFIX) else b""


def _international_text(content: bytes) -> str | None:
    """Decode what follows an iTXt's keyword: compression flag and method, language, translation, text."""
    flags, rest = content[:2], content[2:]
    _, zero, rest = rest.partition(b"\0")
    _, second_zero, text = rest.partition(b"\0")
    if flags not in (b"\0\0", b"\0\1", b"\1\0") or not zero or not second_zero:
        return None
    unpacked = _unpack(text) if flags == b"\1\0" else text
    return None if unpacked is None else unpacked.decode("utf-8-sig", "replace")


def _unpack(packed: bytes) -> bytes | None:
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(packed, MAX_TEXT_BYTES + 1)
    except zlib.error:
        return None
    return content if unpacking.eof and len(content) <= MAX_TEXT_BYTES else None
