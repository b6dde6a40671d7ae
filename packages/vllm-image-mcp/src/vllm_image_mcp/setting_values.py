"""Clean and check the values of settings: strip quotes, convert file:// URLs, refuse unfilled placeholders.

Hosts pass on what their configuration contains. Some expand ``${workspaceFolder}``, ``$HOME`` or
``%USERPROFILE%``, others do not; without this check, a folder or key of that name would be used silently.
Each function raises ValueError, with the reason, for text that cannot be a value.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from vllm_image_core.file_url import path_in_url
from vllm_image_core.text import brief, decode_text

_QUOTES: Final = "\"'"
_BRACED: Final = r"\$\{[^}]*\}?|\$\([^)]*\)?|\{\{.*?\}\}"
_NAMED: Final = r"%[A-Za-z_][\w()]{2,}%|\$env:\w+"
_IN_A_PATH: Final = re.compile(rf"{_BRACED}|{_NAMED}|(?:(?<=^)|(?<=[/\\]))\$[A-Za-z_]\w*|^<[^<>]+>$")
_IN_AN_ADDRESS: Final = re.compile(rf"{_BRACED}|{_NAMED}|\$[A-Za-z_]\w*|<[^<>]*>")
_IN_A_HEADER: Final = re.compile(rf"{_BRACED}|{_NAMED}|^<[^<>]*>$")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
NO_PROXY: Final = "none"
"""The value of the setting for a direct connection."""
_PROXY_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_WHOLE: Final = re.compile(rf"(?:{_BRACED}|{_NAMED}|\$[A-Za-z_]\w*|<[^<>]+>)", re.DOTALL)
_UNFILLED_KEY: Final = re.compile(
    r"(?:sk-)?(?:your.*(?:key|token|secret).*|change[-_ ]?(?:me|this)|\.{3,}|…|x{3,}|\*{3,})", re.IGNORECASE
)
"""What documentation writes in place of a key."""
_BETWEEN_FOLDERS: Final = re.compile(rf"{os.pathsep}(?!//)")
"""The separator of PATH, except for the colon of a URL."""
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/")
"""A scheme has two letters or more; one is a drive of Windows."""


def clean_path(value: str) -> str:
    """Return the path given by a setting; refuse one that is empty or ambiguous."""
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
    """Return the address given by a setting."""
    text = _unquote(value)
    if found := _IN_AN_ADDRESS.search(text):
        raise ValueError(
            f"contains {brief(found[0])}, which the host or the shell did not replace. "
            'Write the address itself, such as "http://localhost:6655"'
        )
    return text


def clean_proxy(value: str) -> str:
    """Return the address of a proxy, or "none" for a direct connection; no error message shows it."""
    text = _unquote(value)
    if text.lower() == NO_PROXY:
        return NO_PROXY
    if _IN_AN_ADDRESS.search(text):
        raise ValueError("is a placeholder, which the host or the shell did not replace")
    address = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in _PROXY_SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError('must be an address such as "http://proxy.example.com:3128", or "none"')
    return address


def clean_public_url(value: str) -> str:
    """Return the address of this server as its clients see it."""
    return _check_address(clean_url(value))


def clean_key(value: str) -> str:
    """Return the key given by a setting, which has to fit into a header; no error message shows it."""
    text = _unquote(value)
    unfilled = _UNFILLED_KEY.fullmatch(text)
    if unfilled or _WHOLE.fullmatch(text):
        why = "" if unfilled else ", which the host or the shell did not replace"
        raise ValueError(
            f"is a placeholder{why}. Write the key itself, or omit the option for a server without a key"
        )
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without spaces")
    return text


def clean_key_file(value: str) -> str:
    """Return the path of a file that a key can be read from."""
    path = clean_path(value)
    read_key(Path(path))
    return path


def read_key(file: Path) -> str:
    """Return the key in a file; a line break after it is ignored, and no error message shows it."""
    try:
        text = decode_text(file.expanduser().read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"{brief(str(file))} cannot be read: {why}") from error
    try:
        key = clean_key(text)
    except ValueError as error:
        raise ValueError(f"the key in {brief(str(file))} {error}") from error
    if not key:
        raise ValueError(f"{brief(str(file))} is empty. Write the key into it")
    return key


def clean_host_names(value: str | Sequence[str]) -> tuple[str, ...] | None:
    """Return the host names given by a setting, one text with commas or several; None for none."""
    given = value.split(",") if isinstance(value, str) else value
    names = tuple(clean_text(each) for each in given if each.strip())
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(f'{brief(name)} is not the name of a host, such as "images.example.com"')
    return names or None


def clean_headers(value: str | Sequence[object]) -> tuple[object, ...] | None:
    """Return the headers given by a setting, one text with a line for each or several; None for none.

    No error message shows a value. What is not text is returned as it is.
    """
    lines = value.splitlines() if isinstance(value, str) else value
    headers = tuple(_header(each) if isinstance(each, str) else each for each in lines if each)
    return headers or None


def _header(line: str) -> tuple[str, str]:
    name, colon, value = _unquote(line).partition(":")
    if not colon or not _HEADER_NAME.fullmatch(name.strip()):
        raise ValueError('must be a name and a value, such as "X-Team: blue"')
    return name.strip(), _header_value(name.strip(), value)


def _header_value(name: str, value: str) -> str:
    text = _unquote(value)
    if _IN_A_HEADER.search(text):
        raise ValueError(
            f"{name}: the value is a placeholder, which the host or the shell did not replace. "
            "Write the value itself"
        )
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{name}: the value must be printable ASCII")
    return text


def clean_file(value: str) -> str:
    """Return the path of a file that exists."""
    text = clean_path(value)
    if not os.path.isfile(Path(text).expanduser()):  # noqa: PTH113 - a Path raises where it may not look
        raise ValueError(f"{brief(text)} is not a file, or this program cannot access it")
    return str(Path(text).expanduser())


def clean_text(value: str) -> str:
    """Return any other text given by a setting."""
    text = _unquote(value)
    if _WHOLE.fullmatch(text):
        raise ValueError(f"{brief(text)} is a placeholder, which the host or the shell did not replace")
    return text


def clean_upper(value: str) -> str:
    """Return a string in capitals, such as the name of a log level."""
    return clean_text(value).upper()


def none_if_auto(value: str) -> str | None:
    """Return the text of a number; None, which lets the program choose, for "auto"."""
    text = clean_text(value)
    return None if text.lower() == "auto" else text


def clean_folders(value: str | Sequence[str | Path]) -> tuple[Path, ...] | None:
    """Return the folders given by a setting, one text separated as in PATH or several; None for none."""
    given = _BETWEEN_FOLDERS.split(value) if isinstance(value, str) else value
    if "" in given:
        raise ValueError("an empty name is not a folder")
    folders = tuple(
        (Path(clean_path(each)) if isinstance(each, str) else each).expanduser() for each in given
    )
    for folder in folders:
        if not os.path.isdir(folder):  # noqa: PTH112 - a Path raises where it may not look
            raise ValueError(f"{brief(str(folder))} is not a folder, or this program cannot access it")
    return folders or None


def clean_urls(value: str | Sequence[str]) -> str:
    """Return the addresses given by a setting, separated by commas, without one that appears twice.

    A bad address is reported at startup rather than at the first image; the client checks the rest.
    """
    text = clean_url(value if isinstance(value, str) else ",".join(value))
    urls = [_check_address(clean_url(url)) for url in text.split(",")]
    if len(set(urls)) < len(urls):
        raise ValueError("names a server twice")
    return ",".join(urls)


def _check_address(url: str) -> str:
    parts = urlsplit(url.strip())
    if "@" in url:
        raise ValueError("contains a user name or password; use --api-key for the key")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError('must be an address such as "http://localhost:6655"')
    return url.strip()


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
