"""Word the error for an image URL that the server, which has no network here, cannot fetch."""

import socket
from ipaddress import ip_address
from typing import Final

import httpx

_CONNECT_FAILED: Final = "All connection attempts failed"
_UNKNOWN_NAME: Final = "[Errno -2] Name or service not known"
_NO_PROTOCOL: Final = "Request URL is missing an 'http://' or 'https://' protocol."


def fetch_error(address: str) -> str:
    """Return why a URL cannot be fetched: it is invalid, the name is unknown, or nothing answers.

    The server fetches images with httpx, so httpx's own error is what it reports for an invalid URL.
    """
    try:
        url = httpx.URL(address)
        host = url.host
    except (httpx.InvalidURL, UnicodeError) as error:
        return str(error)
    if url.scheme and url.scheme not in {"http", "https"}:
        return f"Request URL has an unsupported protocol '{url.scheme}://'."
    if not url.scheme or not host:
        return _NO_PROTOCOL
    return _CONNECT_FAILED if host == "localhost" or _is_address(host) else _UNKNOWN_NAME


def _is_address(host: str) -> bool:
    """Return whether a host is an IP address, even with fewer numbers, as in "127.1"."""
    for parse in (ip_address, socket.inet_aton):
        try:
            parse(host)
        except (ValueError, OSError):  # UnicodeError is a ValueError
            continue
        return True
    return False
