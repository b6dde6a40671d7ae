"""Queries to the index."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.storage.query import Query


def test_an_empty_query_matches_every_image() -> None:
    assert Query().conditions(fts=True) == ("width IS NOT NULL", ())


def test_every_value_is_a_condition() -> None:
    berlin = timezone(timedelta(hours=1))
    query = Query(
        text="red fox",
        model="qwen",
        seed=7,
        width=64,
        height=48,
        since=datetime(1970, 1, 1, 1, 1, 0, 900_000, tzinfo=berlin),
        until=datetime(1970, 1, 1, 0, 2, 0, 100_000, tzinfo=UTC),
        batch="batch_1",
        tag="winter",
    )
    condition = (
        "width IS NOT NULL AND model = ? AND seed = ? AND width = ? AND height = ? AND batch = ? AND tag = ? "
        "AND created >= ? AND created < ? "
        "AND id IN (SELECT rowid FROM picture_text WHERE picture_text MATCH ?)"
    )
    values = ("qwen", 7, 64, 48, "batch_1", "winter", 60, 121, '"red" "fox"')
    assert query.conditions(fts=True) == (condition, values)


def test_without_fts5_each_word_is_searched_separately() -> None:
    one = "(prompt LIKE ? OR tag LIKE ? OR name LIKE ?)"
    assert Query(text="red 50%").conditions(fts=False) == (
        f"width IS NOT NULL AND {one} AND {one}",
        (*["%red%"] * 3, *["%50%"] * 3),
    )


@pytest.mark.parametrize("fts", [True, False])
def test_text_without_a_word_matches_nothing_and_a_blank_one_everything(*, fts: bool) -> None:
    assert Query(text='"*" -').conditions(fts=fts) == ("width IS NOT NULL AND 0", ())
    assert Query(text=" \t").conditions(fts=fts) == ("width IS NOT NULL", ())


def test_impossible_times_are_before_or_after_everything() -> None:
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    query = Query(since=datetime.min.replace(tzinfo=east), until=datetime.max.replace(tzinfo=west))
    assert query.conditions(fts=True)[1] == (-(10**15), 10**15)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("text", 7),
        ("text", b"fox"),
        ("model", ["qwen"]),
        ("seed", True),
        ("seed", "7"),
        ("seed", 2**63),
        ("width", 0),
        ("height", 64.0),
        ("since", "2026-02-18"),
        ("until", 0),
        ("batch", 1),
        ("tag", {}),
        ("limit", 0),
        ("limit", 1001),
        ("limit", None),
        ("offset", -1),
    ],
)
def test_a_value_that_cannot_be_searched_for_is_refused(parameter: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Query(**{parameter: value})  # type: ignore[arg-type]  # what an unchecked caller may pass
    assert caught.value.parameter == parameter
