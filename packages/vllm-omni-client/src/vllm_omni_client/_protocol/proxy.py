"""Choose the environment's proxy for a server, if it needs one."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from vllm_omni_client._protocol.address import is_private

_PORTS: Final = {"http": 80, "https": 443}


def proxy_for(base_url: str, proxies: Mapping[str, str]) -> str | None:
    """Return the proxy for a server, or None to connect directly.

    Loopback, private addresses and internal names never use a proxy. `proxies` is what
    ``urllib.request.getproxies`` returns: a proxy per scheme, "all" for every scheme, and the hosts of
    NO_PROXY under "no".
    """
    server = urlsplit(base_url)
    proxy = proxies.get(server.scheme) or proxies.get("all")
    exempt = (entry for entry in re.split(r"[,\s]+", proxies.get("no", "")) if entry)
    if not proxy or is_private(server.hostname or "") or any(_matches(entry, server) for entry in exempt):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _matches(entry: str, server: SplitResult) -> bool:
    """Say whether an entry matches a server: a host, domain, address or network, with or without a port."""
    if entry == "*":
        return True
    scheme, separator, rest = entry.lower().rpartition("://")
    if separator and scheme not in {server.scheme, "all"}:
        return False
    host, port = _host_and_port(rest)
    if port and port != str(server.port or _PORTS[server.scheme]):
        return False
    name = (server.hostname or "").rstrip(".")
    return _is_within(name, host) or _is_below(name, host)


def _host_and_port(entry: str) -> tuple[str, str]:
    """Split ``host:80`` and ``[::1]:80``; colons of an unbracketed IPv6 address do not start a port."""
    if match := re.fullmatch(r"\[([^\]]*)\](?::(\d+))?", entry):
        return match[1], match[2] or ""
    host, _, port = entry.rpartition(":")
    return (host, port) if host and ":" not in host and port.isdecimal() else (entry, "")


def _is_within(name: str, network: str) -> bool:
    """Say whether a host is an address in a network such as 203.0.113.0/24 (or a single address)."""
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _is_below(name: str, domain: str) -> bool:
    """Say whether a host is a domain or its subdomain; ``.a.com`` and ``*.a.com`` match only subdomains."""
    domain = domain.rstrip(".")
    if domain.startswith(("*.", ".")):
        return name.endswith("." + domain.lstrip("*.")) and domain.strip("*.") != ""
    return name == domain or (domain != "" and name.endswith("." + domain))
