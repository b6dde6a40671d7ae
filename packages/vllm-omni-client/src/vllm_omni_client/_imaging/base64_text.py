"""Decode base64 strictly, in the usual and the URL-safe alphabet, with or without padding."""

from typing import Final

import pybase64

_USUAL_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")


def decode(text: str | bytes | memoryview) -> bytes:
    """Decode base64 text; the URL-safe alphabet and text without padding are accepted too.

    Raises:
        ValueError: It contains anything that is not base64, such as white space, or ends within a byte.
    """
    if text[-3:] in {"===", b"==="}:
        raise ValueError("not base64: too much padding")
    try:
        return _decode(text)
    except ValueError as error:  # binascii.Error is one
        usual = _in_usual_form(text)
        try:
            return _decode(usual)
        except ValueError:
            raise ValueError(f"not base64: {error}") from error


def _decode(text: str | bytes | memoryview) -> bytes:
    return pybase64.b64decode(text, None, True)  # noqa: FBT003 - `validate`, faster by position


def _in_usual_form(text: str | bytes | memoryview) -> bytes:
    """Return the text in the usual alphabet (RFC 4648, section 4 instead of 5), with its padding."""
    content = text.encode(errors="replace") if isinstance(text, str) else bytes(text)
    return content.translate(_USUAL_ALPHABET) + b"=" * (-len(content) % 4)
