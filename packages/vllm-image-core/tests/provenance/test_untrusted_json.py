"""JSON that others wrote."""

import math

import pytest
from vllm_image_core.provenance.untrusted_json import as_list, as_object, json_object


def test_an_object_is_read_and_of_double_keys_the_last_counts() -> None:
    assert json_object('{"seed": 1, "seed": 2, "of": [1, {"a": null}]}') == {
        "seed": 2,
        "of": [1, {"a": None}],
    }


@pytest.mark.parametrize(
    "text",
    [
        *(None, 7, b"{}", "", "[]", "7", "null", "{", "no JSON", "\0", "\ud800"),
        pytest.param("[" * 500_000, id="deep lists"),
        pytest.param('{"a":' * 200_000, id="deep objects"),
        pytest.param('{"a":' * 90_000 + "1" + "}" * 90_000, id="deep and whole"),
        pytest.param('{"seed": ' + "9" * 100_000 + "}", id="a huge number"),
        pytest.param('{"a": "' + "x" * 1_048_576 + '"}', id="too long"),
    ],
)
def test_what_is_no_object_is_an_empty_one(text: object) -> None:
    assert json_object(text) == {}


def test_nan_is_let_pass() -> None:
    value = json_object('{"is_changed": NaN}')["is_changed"]
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize("value", [None, 7, "x", [1], True])
def test_a_value_of_another_type_is_an_empty_object(value: object) -> None:
    assert as_object(value) == {}


@pytest.mark.parametrize("value", [None, 7, "x", {"a": 1}, True])
def test_a_value_of_another_type_is_an_empty_list(value: object) -> None:
    assert list(as_list(value)) == []
