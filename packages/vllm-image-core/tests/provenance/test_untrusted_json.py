"""JSON that others wrote."""

import json
import math

import pytest
from vllm_image_core.provenance.facts import as_list, as_object, is_json, json_object


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


def test_an_object_in_a_string_or_alone_in_a_list_is_read_if_asked_for() -> None:
    for text in ('[{"seed": 1}]', json.dumps('{"seed": 1}'), ' {"seed": 1}'):
        assert json_object(text, wrapped=True) == {"seed": 1}
    assert json_object('[{"seed": 1}, {"seed": 2}]', wrapped=True) == {}


@pytest.mark.parametrize(
    "text", ["{}", "[]", ' {\n"a": 1}', '{"a": 1', '[{"a": 1', "[[" * 500, '{"a":' * 99, '"{}"']
)
def test_json_is_told_also_when_it_is_damaged(text: str) -> None:
    assert is_json(text)


@pytest.mark.parametrize(
    "text", ["", "a pier", "{a|b} pier", "[a:b:1]", '"a pier"', "{{a}}", "7", "{" * 20, '{"a"}']
)
def test_a_prompt_is_no_json(text: str) -> None:
    assert not is_json(text)
