"""Word the error for an image URL that the server, which has no network here, cannot fetch."""

import re
import socket
from ipaddress import ip_address
from typing import Final

# How httpx parses a URL (its _urlparse.py, after RFC 3986).
_ADDRESS: Final = re.compile(r"https?:(?://(?P<authority>[^/?#]*))?", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(?:(?P<userinfo>.*)@)?(?P<host>\[.*\]|[^:@]*):?(?P<port>.*)")
_FOUR_NUMBERS: Final = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
_LONGEST: Final = 65536
_CONNECT_FAILED: Final = "All connection attempts failed"
_UNKNOWN_NAME: Final = "[Errno -2] Name or service not known"
_NO_PROTOCOL: Final = "Request URL is missing an 'http://' or 'https://' protocol."


def fetch_error(address: str) -> str:
    """Return why a URL cannot be fetched: it is invalid, the name is unknown, or nothing answers."""
    return _character_error(address) or _connection_error(address)


def _character_error(address: str) -> str | None:
    """Return httpx's error for a URL that is too long or has an invalid character, or None."""
    if len(address) > _LONGEST:
        return "URL too long"
    for place, character in enumerate(address):
        if character.isascii() and not character.isprintable():
            return f"Invalid non-printable ASCII character in URL, {character!r} at position {place}."
    return None


def _connection_error(address: str) -> str:
    parts = _ADDRESS.match(address)
    authority = _AUTHORITY.fullmatch(parts["authority"] or "") if parts else None
    if authority is None:
        return _NO_PROTOCOL
    host, port = authority["host"].removeprefix("[").removesuffix("]"), authority["port"]
    if _FOUR_NUMBERS.fullmatch(host) and not _is_address(host):
        return f"Invalid IPv4 address: {host!r}"
    if port and not _is_port(port):
        return f"Invalid port: {port!r}"
    if not host:
        return _NO_PROTOCOL
    return _CONNECT_FAILED if host == "localhost" or _is_address(host) or _is_number(host) else _UNKNOWN_NAME


def _is_port(text: str) -> bool:
    """Return whether httpx accepts a port; for one that is too large, the connection fails."""
    try:
        int(text)
    except ValueError:
        return False
    return True


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_number(host: str) -> bool:
    """Return whether the resolver reads a host as an IPv4 address with fewer numbers, such as "127.1"."""
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeError):
        return False
    return True
