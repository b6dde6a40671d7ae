"""RetryBudget: how many retries one client may still make, so that a dead server is not beaten.

A token bucket, like gRPC's retry throttling (gRFC A6): retries take tokens, successes give them back. A new
client has few; one that has seen its server answer has more. So over 50 calls a server that is dead from the
start gets at most 1.1 requests for each.
"""

from threading import Lock
from typing import Final

CAPACITY: Final = 10.0
RESERVE: Final = 4.0
"""What a client has before its first success, if one call alone may not be repeated more often."""
CHEAP_RETRY: Final = 1.0
"""After a failure that cost no GPU time."""
COSTLY_RETRY: Final = 2.0
"""After one that may have."""
VAIN_QUESTION: Final = 1.0
"""For having asked a server's health before a retry that then was not made."""
_SUCCESS: Final = 1.0


class RetryBudget:
    """The tokens of one client; safe to share between threads.

    Args:
        max_retries: How many the caller allows to one call; the first one is to have them.
    """

    def __init__(self, max_retries: int = 0) -> None:
        self._tokens = max(RESERVE, float(max_retries))
        self._capacity = max(CAPACITY, self._tokens)
        self._lock = Lock()

    @property
    def tokens(self) -> float:
        """What is left, from 0 on."""
        return self._tokens

    def take(self, tokens: float) -> None:
        """Pay for a retry."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - tokens)

    def credit(self) -> None:
        """Earn for a call that got its answer."""
        with self._lock:
            self._tokens = min(self._capacity, self._tokens + _SUCCESS)
