"""Check and normalise a server's base URL before anything is sent to it."""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from vllm_omni_client._text import printable
from vllm_omni_client.errors import InvalidParameter

_ALLOWED: Final = 'must be "http://HOST:PORT" or "https://HOST[:PORT][/PATH]"'
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?")
_NUMBERS: Final = re.compile(r"[0-9.]+")
_PATH: Final = re.compile(r"[\x21-\x7e]*")
_PRIVATE_SUFFIXES: Final = (".localhost", ".local", ".internal", ".home.arpa")
_SHOWN: Final = 80


def base_url_of(text: str) -> str:
    """Return `text` as a base URL without a trailing slash or `/v1`.

    Raises:
        InvalidParameter: It has no scheme or host, or has a bad port, a user name, a query or a fragment. The
            message never repeats a password.
    """
    text = text.strip()
    if not text.isprintable():
        raise _refusal("", f"{_ALLOWED}, without control characters")
    parts = _split(text)
    if "@" in text:
        raise _refusal("", "contains a user name or password; pass the key as api_key")
    if parts.scheme not in {"http", "https"}:
        raise _refusal(text, f'{_ALLOWED}; did you forget "http://"?')
    if "?" in text or "#" in text:
        raise _refusal(text, f"{_ALLOWED}, without a query")
    if not (_is_host(parts.hostname or "") and parts.port != 0 and _PATH.fullmatch(parts.path)):
        raise _refusal(text, _ALLOWED)
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc.rstrip(':').lower()}{path}"


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise _refusal("" if "@" in text else text, f"{_ALLOWED} ({error})") from None
    return parts


def _is_host(host: str) -> bool:
    """Say whether a host is an IP address or an ASCII name (international names as xn--)."""
    if ":" in host or _NUMBERS.fullmatch(host):
        return _ip_address(host) is not None
    return _NAME.fullmatch(host) is not None


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refusal(text: str, reason: str) -> InvalidParameter:
    shown = repr(printable(re.split(r"[?#]", text)[0], limit=_SHOWN)) + " " if text else ""
    return InvalidParameter(f"base_url {shown}{reason}", parameter="base_url")


def is_private(host: str) -> bool:
    """Say whether no proxy can reach a host: loopback, a private network, or an internal name."""
    address = _ip_address(host)
    if address is None:
        return "." not in host or host.endswith(_PRIVATE_SUFFIXES)
    return address.is_private or address.is_loopback or address.is_link_local
