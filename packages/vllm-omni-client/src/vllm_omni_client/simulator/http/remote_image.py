"""An address that a request names: why the server, without a network, cannot fetch it."""

import re
import socket
from ipaddress import ip_address
from typing import Final

# How httpx takes an address apart (its _urlparse.py, after RFC 3986).
_ADDRESS: Final = re.compile(r"https?:(?://(?P<authority>[^/?#]*))?", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(?:(?P<userinfo>.*)@)?(?P<host>\[.*\]|[^:@]*):?(?P<port>.*)")
_FOUR_NUMBERS: Final = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
_LONGEST: Final = 65536
_NOBODY: Final = "All connection attempts failed"
_NO_NAME: Final = "[Errno -2] Name or service not known"
_NO_PROTOCOL: Final = "Request URL is missing an 'http://' or 'https://' protocol."


def why_unreachable(address: str) -> str:
    """Why an address cannot be fetched: it is none, there is no such name, or nobody is there."""
    return _complaint(address) or _failure(address)


def _complaint(address: str) -> str | None:
    """What httpx says of an address before it looks at its parts."""
    if len(address) > _LONGEST:
        return "URL too long"
    for place, character in enumerate(address):
        if character.isascii() and not character.isprintable():
            return f"Invalid non-printable ASCII character in URL, {character!r} at position {place}."
    return None


def _failure(address: str) -> str:
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
    return _NOBODY if host == "localhost" or _is_address(host) or _is_number(host) else _NO_NAME


def _is_port(text: str) -> bool:
    """Whether httpx reads a number; of one that is too large it says only that nobody is there."""
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
    """Whether the resolver takes a host for an IPv4 address written in fewer numbers, such as "127.1"."""
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeError):
        return False
    return True
