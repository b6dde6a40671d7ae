"""Make untrusted text safe to show in a message, on one line and of limited length, and decode text files."""

import codecs
from numbers import Integral, Real
from pathlib import Path
from typing import Final

from vllm_omni_client.errors import OmniError

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: this mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

LONGEST_SHOWN = 120
"""Characters of untrusted text that a message shows."""

LONGEST_PATH = 1000
"""Characters of a path that a message shows; it is the end of a path that identifies the file."""


class TextTooLong(ValueError):
    """Text that is too long for an image file's metadata."""

    def __init__(self, keyword: str, length: int, limit: int) -> None:
        super().__init__(f"the text of {keyword!r} has {length} bytes; at most {limit} fit")


def one_line(text: str, *, limit: int = LONGEST_SHOWN) -> str:
    """Return the text on one line, with unprintable characters escaped, cut to a limit in characters.

    Control characters, line breaks, lone surrogates and marks that change the writing direction are not
    printable; they become Python escapes.
    """
    head = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text[:limit]
    )
    return head if len(head) <= limit and len(text) <= limit else head[: limit - 1] + "…"


def path_text(path: object) -> str:
    """Return a path as JSON and a terminal can show it: bytes of a name that are not text are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def folder_text(folder: Path) -> str:
    """Return a folder as people write it, with ~ for their home folder."""
    try:
        return str(Path("~", folder.relative_to(Path.home())))
    except (ValueError, RuntimeError):  # elsewhere, or nobody's home
        return str(folder)


def sentences(*texts: str) -> str:
    """Join strings into one line; a string without closing punctuation gets a full stop."""
    return " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in texts if text)


def error_name(error: BaseException) -> str:
    """Name an error for a log line: its class and HTTP status; its text might repeat the prompt."""
    status = error.exchange.status if isinstance(error, OmniError) and error.exchange else None
    return f"{type(error).__name__} (HTTP {status})" if status else type(error).__name__


def system_reason(error: OSError | ValueError) -> str:
    """Return why the system refused a file, on one line, without the number of the error and the path."""
    return one_line((isinstance(error, OSError) and error.strerror) or str(error))


def message_of(error: BaseException) -> str:
    """Return what happened, without the next step that `str` adds to an error of the client."""
    return error.message if isinstance(error, OmniError) else str(error)


def brief(value: object) -> str:
    """Describe a value of any type briefly and safely, for a message."""
    match value:
        case str():
            return f"'{one_line(value)}'"
        case bool() | None:
            return str(value)
        case Integral():
            return str(value) if int(value).bit_length() <= 64 else "an integer of more than 64 bits"  # noqa: PLR2004 -- the 64 in the text
        case Real():
            return one_line(str(float(value)))
        case _:
            return f"a {type(value).__name__}"


def marked_encoding(head: bytes) -> str | None:
    """Return the encoding that the byte order mark at the start of a file stands for; None without a mark."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def decode_text(data: bytes) -> str:
    """Decode a text file: UTF-8, unless a byte order mark says otherwise, as in files of Windows PowerShell.

    Raises:
        UnicodeDecodeError: The bytes are not text in that encoding.
    """
    return data.decode(marked_encoding(data) or "utf-8")
