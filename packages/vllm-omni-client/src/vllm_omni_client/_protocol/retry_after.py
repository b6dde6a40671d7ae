"""Retry-After: how long a server asks to be left alone, in each form that it is written in."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_NUMBER: Final = re.compile(r"[0-9]{1,1000}(?:\.[0-9]{1,1000})?(?:[eE][+-]?[0-9]{1,3})?")
_LONGEST_SECONDS: Final = 1e12
"""What a longer wait is taken for: 30,000 years."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def retry_after_seconds(
    headers: Mapping[str, str], *, now: Callable[[], datetime] = _utc_now
) -> float | None:
    """Return the wait that the headers ask for; None when they ask for none, or write junk.

    Read are `retry-after-ms`, and `retry-after` in seconds or as a date. A date is compared with the
    reply's own `date`, so that a wrong clock on this side does no harm; with `now` where it has none. Of a
    header that came twice, as from a proxy too, the longer wait counts.

    Args:
        headers: The reply's headers, their names in lower case.
        now: Tells the time.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is not None:
        return seconds
    then = _date(text)
    return (
        None if then is None else max(0.0, (then - (_date(headers.get("date", "")) or now())).total_seconds())
    )


def _number(text: str) -> float | None:
    parts = [part.strip() for part in text.split(",")]
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    return min(max(map(float, parts)), _LONGEST_SECONDS)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
