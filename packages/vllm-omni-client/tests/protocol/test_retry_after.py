"""Retry-After is read in each of its forms, and an invalid value is ignored."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_omni_client._protocol.retry_after import retry_after_seconds

NOW = "Sun, 22 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1000000000"}, 1e9),
        ({"retry-after": "1e9"}, 1e9),
        ({"retry-after": "9" * 400}, 1e12),
        ({"retry-after": "1, 2"}, 2.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": NOW}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:30 +0100", "date": NOW}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 -0000", "date": NOW}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 09:00:00 GMT", "date": NOW}, 0.0),
    ],
)
def test_a_wait_is_read(headers: dict[str, str], seconds: float) -> None:
    assert retry_after_seconds(headers) == seconds


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"retry-after": ""},
        {"retry-after": "-1"},
        {"retry-after": "nan"},
        {"retry-after": "inf"},
        {"retry-after": "soon"},
        {"retry-after": "٣"},
        {"retry-after": "1, soon"},
        {"retry-after": ","},
        {"retry-after": "Sun, 99 Nov 2026 10:00:30 GMT", "date": NOW},
        {"date": NOW},
    ],
)
def test_an_invalid_wait_is_ignored(headers: dict[str, str]) -> None:
    assert retry_after_seconds(headers) is None


@pytest.mark.parametrize("reply_date", [{}, {"date": "today"}])
def test_a_date_in_a_reply_without_one_is_compared_with_this_clock(reply_date: dict[str, str]) -> None:
    headers = {"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", **reply_date}
    now = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
    assert retry_after_seconds(headers, now=lambda: now) == 30.0
    assert retry_after_seconds(headers, now=lambda: now + timedelta(hours=1)) == 0.0


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_header_breaks_it(retry_after: str, date: str) -> None:
    seconds = retry_after_seconds({"retry-after": retry_after, "date": date})
    assert seconds is None or seconds >= 0
