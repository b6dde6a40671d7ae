"""Untrusted text, made safe to show: one line, printable, bounded."""

from numbers import Integral, Real

from vllm_omni_client.errors import OmniError

LONGEST_SHOWN = 120
"""Characters of an untrusted text that a message shows."""

LONGEST_PATH = 1000
"""Characters of a path that a message shows: its end is what tells one file from another."""


class TextTooLong(ValueError):
    """A text that has no room in a picture's file."""

    def __init__(self, keyword: str, length: int, limit: int) -> None:
        super().__init__(f"the text of {keyword!r} has {length} bytes; at most {limit} are written")


def one_line(text: str, *, limit: int = LONGEST_SHOWN) -> str:
    """The text on one line, what cannot be printed escaped, and cut to a limit in characters.

    Control characters, line breaks, lone surrogates and the marks that turn the writing direction are
    not printable; they come out as Python escapes.
    """
    head = "".join(_visible(character) for character in text[:limit])
    return head if len(head) <= limit and len(text) <= limit else head[: limit - 1] + "…"


def path_text(path: object) -> str:
    """A path as JSON and a terminal can show it: the bytes of a name that are not text are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def sentences(*texts: str) -> str:
    """Texts in a row, each ended by a full stop where it has no end of its own."""
    return " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in texts if text)


def error_name(error: BaseException) -> str:
    """Name an error for a log line: its class and HTTP status; its text might repeat the prompt."""
    status = error.exchange.status if isinstance(error, OmniError) and error.exchange else None
    return f"{type(error).__name__} (HTTP {status})" if status else type(error).__name__


def shown(value: object) -> str:
    """A value of any type, short enough and safe for a message."""
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


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
