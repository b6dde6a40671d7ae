"""Decode text from EXIF, in any of the encodings that programs use.

Source: Exif 2.32 and 3.0 (CIPA DC-008), section 4.6.5, "UserComment": eight bytes name the character code.
Writers disagree on what follows them: AUTOMATIC1111 (through piexif) writes big-endian UTF-16, many others
write UTF-16 in the block's byte order, Exif 3.0 asks for UTF-8, and some write no code at all.
"""

import re
from contextlib import suppress
from typing import Final, Literal

Order = Literal["<", ">"]
"""Little-endian or big-endian, as `struct` spells it."""

_CODE_BYTES: Final = 8
_CODES: Final = frozenset({b"ascii", b"unicode", b"jis", b"utf-8", b"utf8", b""})
_BYTE_ORDER_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_UTF_16: Final[dict[Order, str]] = {"<": "utf-16-le", ">": "utf-16-be"}
_NEVER: Final = bytes({*range(0x20), 0x7F} - {0x09, 0x0A, 0x0C, 0x0D, 0x1B})
_PRINTABLE: Final = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F)])
_FEW_LETTERS: Final = 5
_SHORT_BYTES: Final = 16
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""Never part of UTF-8 text: control characters other than tabs, line breaks, and the escape of colours."""

_KANA: Final = 0x30
"""The high byte of Japanese kana in UTF-16, which in ASCII is the digit 0."""

_SAMPLED_BYTES: Final = 4096
_CLEAR_SHARE: Final = 8
"""If one unit in eight has a control character in the same half, the text is UTF-16."""

_CLEAR_COUNT: Final = 16
"""In longer text, this many are enough, if the other halves have almost none."""

# Patterns that `re` compiles when they are first used: it takes 8 ms, and few files need them.
_LETTERS: Final = "[\t\n\r\x20-\x7e\u3000-\u30ff]"
_OTHER_LETTERS: Final = (
    "[\xa0-\u024f\u0370-\u06ff\u0900-\u0e7f\u2010-\u2030\u4e00-\u9fff\uac00-\ud7a3"
    "\uff01-\uff60\U0001f000-\U0001faff]"
)
_UNREADABLE: Final = (
    "[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufffd-\uffff]"
)
_MOST_UNREADABLE: Final = 10
"""If more than one character in ten is unreadable, the bytes are not taken for text."""


def comment_text(value: bytes, order: Order) -> str:
    """Decode a UserComment, whatever its eight bytes of code say, and also without them.

    Bytes that cannot be decoded become U+FFFD. The block's byte `order` is used if the text itself does not
    show its own.
    """
    code = _code(value[:_CODE_BYTES])
    if code is None:
        return utf_text(value, order)
    text = value[_CODE_BYTES:]
    if code == b"jis":
        return _japanese(text)
    return utf_text(text, order, wide=code == b"unicode")


def plain_text(value: bytes, order: Order) -> str:
    """Decode the text of an EXIF entry without a code: UTF-8 up to the first zero byte, or else UTF-16."""
    text = value.partition(b"\0")[0]
    if _shows_utf_16(value) and not (len(text) > 1 and _is_utf_8(text)):
        return wide_text(value, order)
    return text.decode("utf-8-sig", "replace")


def utf_text(value: bytes, order: Order, *, wide: bool = False) -> str:
    """Decode UTF-8 or UTF-16, whichever the bytes show; invalid bytes become U+FFFD.

    `order` is used if the bytes fit either; if `wide`, they are read as UTF-16 even if they do not show it.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if value.startswith(mark):
            text = value[len(mark) :]
            return _strip((text if encoding == "utf-8" else _in_pairs(text)).decode(encoding, "replace"))
    narrow = value.rstrip(b"\0")
    if _is_utf_8(narrow) or not (_shows_utf_16(value) or (wide and not _is_mostly_ascii(narrow))):
        return _strip(narrow.decode("utf-8", "replace"))
    return wide_text(value, order)


def wide_text(value: bytes, order: Order) -> str:
    """Decode UTF-16 in the byte order that its characters show; not all writers use the block's order.

    In text with Latin letters, digits or spaces, most zero bytes are high bytes. For any other text, the
    order that makes more of it readable is used.
    """
    value = _in_pairs(value)
    return _strip(value.decode(_UTF_16[_unit_order(value, order)], "replace"))


def is_readable(text: str) -> bool:
    """Whether text was decoded correctly, that is, nearly all of its characters are readable."""
    sample = text[:_SAMPLED_BYTES]
    return len(re.findall(_UNREADABLE, sample)) * _MOST_UNREADABLE <= len(sample)


def _code(first: bytes) -> bytes | None:
    """Return the code that the first eight bytes name, in lower case; None if they are text already.

    Some cameras pad it with spaces. That counts only in capitals, since text may begin with such a word.
    """
    if len(first) < _CODE_BYTES:
        return None
    padded = first.rstrip(b" \0") if first.isupper() or not first.strip(b" \0") else first.rstrip(b"\0")
    return code if len(padded) < _CODE_BYTES and (code := padded.lower()) in _CODES else None


def _japanese(value: bytes) -> str:
    """Decode text after the code JIS: ISO 2022 by the standard, Shift JIS, EUC or UTF-8 by some writers."""
    value = value.rstrip(b"\0")
    if b"\x1b" in value:
        return _strip(value.decode("iso2022_jp_2", "replace"))
    if _is_utf_8(value):
        return _strip(value.decode("utf-8", "replace"))
    texts: list[str] = []
    for encoding in ("cp932", "euc_jp"):
        with suppress(UnicodeDecodeError):
            texts.append(_strip(value.decode(encoding)))
    return max(
        texts, key=lambda text: _sense(text[:_SAMPLED_BYTES]), default=value.decode("utf-8", "replace")
    )


def _is_utf_8(value: bytes) -> bool:
    """Whether this is UTF-8, not UTF-16 that happens to be valid UTF-8; it may end within a character."""
    if _CONTROLS.search(value) or _is_kana(value):
        return False
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and len(value) > _SHORT_BYTES
    return True


def _is_kana(value: bytes) -> bool:
    """Whether every other byte is the high byte of kana; in ASCII, every other character would be a 0."""
    halves = (value[0::2], value[1::2])
    return len(value) > 2 and any(half.count(_KANA) * 2 > len(half) for half in halves)  # noqa: PLR2004 - a unit


def _is_mostly_ascii(value: bytes) -> bool:
    """Whether this is text in a single-byte encoding with a few letters beyond ASCII."""
    others = len(value.translate(None, _PRINTABLE))
    return not _is_kana(value) and others * _FEW_LETTERS < len(value)


def _shows_utf_16(value: bytes) -> bool:
    """Whether bytes that only UTF-16 text has are all in the same half of the units."""
    inner = value.rstrip(b"\0")
    first, second = (len(half) - len(half.translate(None, _NEVER)) for half in (inner[0::2], inner[1::2]))
    most, least = max(first, second), min(first, second)
    many = most * _CLEAR_SHARE > len(inner) // 2 and least * 5 < most * 4
    return _is_kana(inner) or many or (most > _CLEAR_COUNT and least * _CLEAR_SHARE < most)


def _in_pairs(value: bytes) -> bytes:
    return value[: len(value) // 2 * 2]


def _unit_order(value: bytes, order: Order) -> Order:
    first, second = value[0::2].count(0), value[1::2].count(0)
    if max(first, second) * 2 > len(value) // 2 and min(first, second) * _CLEAR_SHARE < max(first, second):
        return ">" if first > second else "<"
    sample = value if len(value) <= 2 * _SAMPLED_BYTES else value[:_SAMPLED_BYTES] + value[-_SAMPLED_BYTES:]
    high, low = (_sense(sample.decode(_UTF_16[each], "replace")) for each in (">", "<"))
    if high == low:
        return order
    return ">" if high > low else "<"


def _sense(text: str) -> int:
    """Score text by its letters of scripts in use; those that rarely occur by chance count twice."""
    letters, others, unreadable = (
        len(re.findall(each, text)) for each in (_LETTERS, _OTHER_LETTERS, _UNREADABLE)
    )
    return 2 * letters + others - 2 * unreadable


def _strip(text: str) -> str:
    return text.strip("\0\ufeff")
