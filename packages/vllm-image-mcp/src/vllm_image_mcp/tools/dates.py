"""A date or a time, as a caller writes it."""

from datetime import date, datetime, time, timedelta

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import shown

__all__ = ["begin_of", "end_of"]


_LAST = date(9999, 12, 30)
"""A later day has no end that can be told."""


def begin_of(parameter: str, given: object) -> datetime | None:
    """The first moment of a day, or the moment itself; None for None. Without a zone it is the local time.

    Raises:
        InvalidRequest: It is no date and no time.
    """
    read = _read(parameter, given)
    return _midnight(read) if isinstance(read, date) and not isinstance(read, datetime) else read


def end_of(parameter: str, given: object) -> datetime | None:
    """The moment after a day, or the moment itself; None for None, and where there is none.

    Raises:
        InvalidRequest: It is no date and no time.
    """
    read = _read(parameter, given)
    if isinstance(read, datetime) or read is None:
        return read
    return _midnight(read + timedelta(days=1)) if read < _LAST else None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time()).astimezone()


def _read(parameter: str, given: object) -> date | datetime | None:
    if given is None:
        return None
    text = given.strip() if isinstance(given, str) else ""
    for kind in (date, datetime):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            continue
    raise InvalidRequest(
        f"{parameter}: {shown(given)} is no date. Allowed is a date such as 2026-11-23, or a time such as "
        "2026-11-23T14:30.",
        parameter=parameter,
        value=given,
        allowed="a date or a time in ISO 8601",
    )
