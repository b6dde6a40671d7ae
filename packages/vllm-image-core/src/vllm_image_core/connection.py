"""Connect to servers: create a client for a URL, and use any other backend as it is."""

import ssl
from collections.abc import Mapping
from os import PathLike
from typing import Literal, TypedDict, Unpack

from pydantic import SecretStr

from vllm_image_core.fleet.backend import Backend


class ConnectionSettings(TypedDict, total=False):
    """The client's settings, under the same names; those that are missing have the client's defaults."""

    api_key: SecretStr | None
    headers: Mapping[str, SecretStr]
    verify: bool | str | PathLike[str] | ssl.SSLContext
    proxy: SecretStr | Literal[False] | None
    timeout: float
    max_retries: int


def connect(server: str | Backend, **settings: Unpack[ConnectionSettings]) -> Backend:
    """Return the client of a server's URL with these settings, and a backend as it is."""
    if not isinstance(server, str):
        return server
    from vllm_omni_client._async_client import AsyncOmniClient  # noqa: PLC0415 - httpx is slow to import

    return AsyncOmniClient(server, **settings)
