"""Retry-After: how long a server asks to be left alone, in each form that it is written in."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# Nothing longer than 12 digits is meant in earnest: that is 30,000 years.
_NUMBER: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the wait that the headers ask for; None when they ask for none, or write junk.

    Read are `retry-after-ms`, and `retry-after` in seconds or as a date. A date is compared with the
    reply's own `date`, so that a wrong clock on this side does no harm; without one it is not used.

    Args:
        headers: The reply's headers, their names in lower case.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = _number(text)
    return seconds if seconds is not None else _until(_date(text), _date(headers.get("date", "")))


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _until(then: datetime | None, now: datetime | None) -> float | None:
    return max(0.0, (then - now).total_seconds()) if then and now else None
