"""Limit the retries of one client over all its calls, so that it does not flood a dead server.

A token bucket, like gRPC's retry throttling (gRFC A6): retries take tokens, successes return them. A new
client has few; a client whose server has answered has more. So over 50 calls, a server that is dead from the
start gets at most 1.1 requests per call.
"""

from threading import Lock
from typing import Final

CAPACITY: Final = 10.0
RESERVE: Final = 4.0
"""The tokens of a client before its first success, unless a single call may be retried more often."""
CHEAP_RETRY: Final = 1.0
"""Price of a retry after a failure that used no GPU time."""
COSTLY_RETRY: Final = 2.0
"""Price of a retry after a failure that may have used GPU time."""
WASTED_HEALTH_CHECK: Final = 1.0
"""Price of a health check after which no retry was made."""
_SUCCESS: Final = 1.0


class RetryBudget:
    """The tokens of one client; safe to share between threads.

    The first call must be able to use all of its `max_retries`.
    """

    def __init__(self, max_retries: int = 0) -> None:
        self.tokens: float = max(RESERVE, float(max_retries))
        self._reserved = self.tokens
        self._capacity = max(CAPACITY, self.tokens)
        self._lock = Lock()

    def reserve(self, max_retries: int) -> None:
        """Let a call have more retries than any before it; only the first such call adds tokens."""
        with self._lock:
            more = max(0.0, max_retries - self._reserved)
            self._reserved += more
            self.tokens += more
            self._capacity = max(self._capacity, self._reserved)

    def take(self, tokens: float) -> None:
        """Pay for a retry."""
        with self._lock:
            self.tokens = max(0.0, self.tokens - tokens)

    def credit(self) -> None:
        """Credit the retry budget for a call that was answered."""
        with self._lock:
            self.tokens = min(self._capacity, self.tokens + _SUCCESS)
