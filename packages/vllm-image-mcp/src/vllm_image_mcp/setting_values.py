"""Clean up the text of a setting: strip quotes, convert file:// URLs, and refuse unfilled placeholders.

Hosts pass on what their configuration contains. Some expand ``${workspaceFolder}``, ``$HOME`` or
``%USERPROFILE%``, others do not; without this check, a folder or key of that name would be used silently.
"""

import re
from pathlib import Path
from typing import Final

from vllm_image_core.file_url import path_in_url
from vllm_image_core.text import brief

__all__ = ["clean_key", "clean_path", "clean_text", "clean_url"]

_QUOTES: Final = "\"'"
_BRACED: Final = r"\$\{[^}]*\}?|\$\([^)]*\)?|\{\{.*?\}\}"
_NAMED: Final = r"%[A-Za-z_][\w()]{2,}%|\$env:\w+"
_IN_A_PATH: Final = re.compile(rf"{_BRACED}|{_NAMED}|(?:(?<=^)|(?<=[/\\]))\$[A-Za-z_]\w*|^<[^<>]+>$")
_IN_AN_ADDRESS: Final = re.compile(rf"{_BRACED}|{_NAMED}|\$[A-Za-z_]\w*|<[^<>]*>")
_WHOLE: Final = re.compile(rf"(?:{_BRACED}|{_NAMED}|\$[A-Za-z_]\w*|<[^<>]+>)", re.DOTALL)
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/")
"""A scheme has two letters or more; one is a drive of Windows."""


def clean_path(value: str) -> str:
    """Return the path that a setting means.

    Raises:
        ValueError: The setting is empty or ambiguous, or contains a placeholder.
    """
    text = _unquote(value)
    if not text:
        raise ValueError("is empty. Set a folder or a file, or omit the option")
    if found := _IN_A_PATH.search(text):
        raise ValueError(
            f"{brief(text)} contains {brief(found[0])}, which the host or the shell did not replace. "
            "Write the path itself; ~ stands for your home folder"
        )
    if _ADDRESS.match(text):
        text = _local(text)
    elif text.startswith('"') or text.endswith('"'):
        raise ValueError(f"{brief(text)} has an unmatched quotation mark. Write the path itself")
    try:
        Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{brief(text)} begins with the home folder of a user that does not exist on this machine. "
            "Write the path itself"
        ) from error
    return text


def clean_url(value: str) -> str:
    """Return the address that a setting means.

    Raises:
        ValueError: It contains a placeholder.
    """
    text = _unquote(value)
    if found := _IN_AN_ADDRESS.search(text):
        raise ValueError(
            f"contains {brief(found[0])}, which the host or the shell did not replace. "
            'Write the address itself, such as "http://localhost:6655"'
        )
    return text


def clean_key(value: str) -> str:
    """Return the key that a setting means; no error message shows it.

    Raises:
        ValueError: It is a placeholder.
    """
    text = _unquote(value)
    if _WHOLE.fullmatch(text):
        raise ValueError(
            "is a placeholder, which the host or the shell did not replace. Write the key itself, or omit "
            "the option for a server without a key"
        )
    return text


def clean_text(value: str) -> str:
    """Return any other text that a setting means.

    Raises:
        ValueError: It is a placeholder.
    """
    text = _unquote(value)
    if _WHOLE.fullmatch(text):
        raise ValueError(f"{brief(text)} is a placeholder, which the host or the shell did not replace")
    return text


def _unquote(value: str) -> str:
    text = value.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        text = text[1:-1].strip()
    return text


def _local(address: str) -> str:
    """Return the path of a file:// URL on this machine."""
    try:
        path = path_in_url(address)
    except ValueError as error:
        raise ValueError(
            f"{brief(address)} is an address, not a path on this machine. Write a path"
        ) from error
    if "\0" in path:
        raise ValueError(f"{brief(address)} contains a zero byte. Write a path")
    return path
