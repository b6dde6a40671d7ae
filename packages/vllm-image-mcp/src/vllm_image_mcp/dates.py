"""Read the dates and times that callers write."""

from datetime import date, datetime, time, timedelta
from types import MappingProxyType
from typing import Final

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import brief

_LAST = date(9999, 12, 30)
"""The end of any later day is not a valid date."""
_DAYS_AGO: Final = MappingProxyType({"today": 0, "yesterday": 1})


def start_of(parameter: str, given: object) -> datetime | None:
    """The start of a day, or the given time; None for None. Local time if there is no time zone."""
    moment = _read(parameter, given)
    return _midnight(moment) if isinstance(moment, date) and not isinstance(moment, datetime) else moment


def end_of(parameter: str, given: object) -> datetime | None:
    """The end of a day, or the given time; None for None and for the last representable day."""
    moment = _read(parameter, given)
    if isinstance(moment, datetime) or moment is None:
        return moment
    return _midnight(moment + timedelta(days=1)) if moment < _LAST else None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time()).astimezone()


def _read(parameter: str, given: object) -> date | datetime | None:
    if given is None:
        return None
    text = given.strip() if isinstance(given, str) else ""
    if (days_ago := _DAYS_AGO.get(text.casefold())) is not None:
        return datetime.now().astimezone().date() - timedelta(days=days_ago)
    for kind in (date, datetime):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            continue
    raise InvalidRequest(
        f"{parameter}: {brief(given)} is not a date. Use a date such as 2026-11-23, or a time such as "
        "2026-11-23T14:30; or today, or yesterday.",
        parameter=parameter,
        value=given,
        allowed="a date or a time in ISO 8601",
    )
