"""Set httpx's timeouts for one attempt, within the total deadline."""

import math
from typing import Final

import httpx

from vllm_omni_client._protocol.connection_settings import ConnectionSettings

_WRITE_SECONDS: Final = 30.0
_SHORTEST_SECONDS: Final = 0.001
_AFTER_DEADLINE_SECONDS: Final = 0.5


def attempt_timeouts(connection: ConnectionSettings, seconds: float = math.inf) -> httpx.Timeout:
    """Return the timeouts of one attempt's steps.

    The total deadline is enforced separately, and fires before the read timeout. `seconds` are left until
    then.
    """
    seconds = max(seconds, _SHORTEST_SECONDS)
    read = min(connection.read_seconds, seconds + _AFTER_DEADLINE_SECONDS)
    return httpx.Timeout(
        connect=min(connection.connect_seconds, seconds),
        read=None if math.isinf(read) else read,
        write=min(_WRITE_SECONDS, seconds),
        pool=None,
    )
