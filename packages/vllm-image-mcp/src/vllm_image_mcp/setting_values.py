"""A setting as it was written: the quotation marks around it, a file:// URL, a placeholder nobody filled in.

Hosts pass on what stands in their configuration. Some expand ``${workspaceFolder}``, ``$HOME`` or
``%USERPROFILE%`` there, others do not, and a folder or a key of that name would be used without a word.
"""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from vllm_image_core.text import shown

__all__ = ["key_as_written", "path_as_written", "text_as_written", "url_as_written"]

_QUOTES: Final = "\"'"
_BRACED: Final = r"\$\{[^}]*\}?|\$\([^)]*\)?|\{\{.*?\}\}"
_NAMED: Final = r"%[A-Za-z_][\w()]{2,}%|\$env:\w+"
_IN_A_PATH: Final = re.compile(rf"{_BRACED}|{_NAMED}|(?:(?<=^)|(?<=[/\\]))\$[A-Za-z_]\w*|^<[^<>]+>$")
_IN_AN_ADDRESS: Final = re.compile(rf"{_BRACED}|{_NAMED}|\$[A-Za-z_]\w*|<[^<>]*>")
_WHOLE: Final = re.compile(rf"(?:{_BRACED}|{_NAMED}|\$[A-Za-z_]\w*|<[^<>]+>)", re.DOTALL)
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/")
"""A scheme has two letters or more; one is a drive of Windows."""


def path_as_written(value: str) -> str:
    """The path that a setting means.

    Raises:
        ValueError: Nobody can tell which one it means.
    """
    text = _unquote(value)
    if not text:
        raise ValueError("is empty. Give a folder or a file, or leave the option out")
    if found := _IN_A_PATH.search(text):
        raise ValueError(
            f"{shown(text)} contains {shown(found[0])}, which the host or the shell did not replace. "
            "Write the path itself; ~ stands for your home folder"
        )
    if _ADDRESS.match(text):
        text = _local(text)
    elif text.startswith('"') or text.endswith('"'):
        raise ValueError(f"{shown(text)} has one quotation mark too many or too few. Write the path itself")
    try:
        Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{shown(text)} begins with the home folder of a user whom this machine does not know. "
            "Write the path itself"
        ) from error
    return text


def url_as_written(value: str) -> str:
    """The address that a setting means.

    Raises:
        ValueError: A part of it is a placeholder.
    """
    text = _unquote(value)
    if found := _IN_AN_ADDRESS.search(text):
        raise ValueError(
            f"contains {shown(found[0])}, which the host or the shell did not replace. "
            'Write the address itself, such as "http://localhost:6655"'
        )
    return text


def key_as_written(value: str) -> str:
    """The key that a setting means; no error shows it.

    Raises:
        ValueError: It is a placeholder.
    """
    text = _unquote(value)
    if _WHOLE.fullmatch(text):
        raise ValueError(
            "is a placeholder, which the host or the shell did not replace. Write the key itself, or leave "
            "the option out for a server without a key"
        )
    return text


def text_as_written(value: str) -> str:
    """Any other text that a setting means.

    Raises:
        ValueError: It is a placeholder.
    """
    text = _unquote(value)
    if _WHOLE.fullmatch(text):
        raise ValueError(f"{shown(text)} is a placeholder, which the host or the shell did not replace")
    return text


def _unquote(value: str) -> str:
    text = value.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        text = text[1:-1].strip()
    return text


def _local(address: str) -> str:
    """The path of a file:// URL of this machine."""
    parts = urlsplit(address)
    if parts.scheme.lower() != "file" or parts.netloc.lower() not in {"", "localhost"}:
        raise ValueError(f"{shown(address)} is an address, not a path on this machine. Write a path")
    path = os.fsdecode(unquote_to_bytes(address[len(parts.scheme) + 1 :].removeprefix("//" + parts.netloc)))
    if "\0" in path:
        raise ValueError(f"{shown(address)} has a zero byte in it. Write a path")
    return path.removeprefix("/") if os.name == "nt" else path
