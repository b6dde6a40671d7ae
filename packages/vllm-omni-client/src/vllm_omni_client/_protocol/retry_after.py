"""Read the wait that a server asks for, in any of its header formats."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_NUMBER: Final = re.compile(r"[0-9]{1,1000}(?:\.[0-9]{1,1000})?(?:[eE][+-]?[0-9]{1,3})?")
_LONGEST_SECONDS: Final = 1e12
"""Longer waits are cut to this: 30,000 years."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def retry_after_seconds(
    headers: Mapping[str, str], *, now: Callable[[], datetime] = _utc_now
) -> float | None:
    """Return the wait that the headers ask for, in seconds; None if they ask for none or are invalid.

    Supported are `retry-after-ms`, and `retry-after` in seconds or as a date. A date is compared with the
    reply's own `date`, so that a wrong local clock does no harm, or with `now` if the reply has none. If a
    header arrives twice, for example once from a proxy, the longer wait counts. The headers' names are in
    lower case.
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
