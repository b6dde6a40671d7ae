from datetime import UTC, datetime, timedelta

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_mcp.dates import end_of, start_of


def test_a_day_begins_at_midnight_here_and_ends_at_the_next() -> None:
    begin, end = start_of("since", "2026-11-23"), end_of("until", "2026-11-23")
    assert begin
    assert end
    assert (begin.replace(tzinfo=None), end.replace(tzinfo=None)) == (
        datetime(2026, 11, 23),  # noqa: DTZ001 - local, as it was asked for
        datetime(2026, 11, 24),  # noqa: DTZ001 - likewise
    )
    assert begin.utcoffset() is not None


def test_a_given_time_is_used_unchanged() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert start_of("since", "2026-11-23T12:00:00Z") == end_of("until", " 2026-11-23T12:00:00+00:00 ") == noon


def test_today_and_yesterday_are_days_here() -> None:
    today = datetime.now().astimezone().date()
    last, first = start_of("since", " Today "), start_of("since", "yesterday")
    assert last
    assert first
    assert last.date() - today in {timedelta(0), timedelta(days=1)}  # a day may end between the two calls
    assert last.date() - first.date() in {timedelta(days=1), timedelta(0)}
    assert end_of("until", "yesterday") in {last, last + timedelta(days=1)}


def test_no_date_gives_none() -> None:
    assert start_of("since", None) is None
    assert end_of("until", None) is None


def test_the_last_day_of_all_has_no_end() -> None:
    assert end_of("until", "9999-12-31") is None
    assert end_of("until", "9999-12-29") == start_of("since", "9999-12-29") + timedelta(days=1)  # type: ignore[operator] -- it is a day


@pytest.mark.parametrize(
    "value", ["last week", "", "23.11.2026", "2026-13-01", 20261123, True, ["2026-11-23"]]
)
def test_anything_but_a_date_is_refused_with_an_example(value: object) -> None:
    for read in (start_of, end_of):
        with pytest.raises(InvalidRequest, match=r"is not a date\. Use a date such as 2026-11-23"):
            read("since", value)
