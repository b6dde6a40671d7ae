"""RetryBudget: how many retries one client may still make, so that a dead server is not beaten.

A token bucket, as gRPC's retry throttling (gRFC A6): retries take tokens, successes give them back, and
below half of them no retry follows. A server that stays dead costs a client 10 retries in all.
"""

from threading import Lock
from typing import Final

CAPACITY: Final = 20.0
FLOOR: Final = CAPACITY / 2
CHEAP_RETRY: Final = 1.0
"""After a failure that cost no GPU time."""
COSTLY_RETRY: Final = 5.0
"""After one that may have."""
_SUCCESS: Final = 1.0


class RetryBudget:
    """The tokens of one client; safe to share between threads."""

    def __init__(self) -> None:
        self._tokens = CAPACITY
        self._lock = Lock()

    @property
    def tokens(self) -> float:
        """What is left, 0 to 20."""
        return self._tokens

    def take(self, tokens: float) -> None:
        """Pay for a retry."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - tokens)

    def succeeded(self) -> None:
        """Earn for a call that got its answer."""
        with self._lock:
            self._tokens = min(CAPACITY, self._tokens + _SUCCESS)
