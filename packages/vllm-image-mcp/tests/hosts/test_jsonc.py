"""JSON with comments is changed in one place, and the rest of the text stays."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_image_mcp.hosts.jsonc import parse, set_value

SETTINGS = """\
// My settings
{
  "theme": "dark", // at night
  /* servers */
  "servers": {
    "other": { "command": "npx", "args": ["-y", "other"] }, // keep
  },
  "size": 12
  // the end
}
"""


def test_a_member_is_added_after_the_comments_of_the_last_one() -> None:
    assert (
        set_value(SETTINGS, ("servers", "ours"), {"command": "uvx"})
        == """\
// My settings
{
  "theme": "dark", // at night
  /* servers */
  "servers": {
    "other": { "command": "npx", "args": ["-y", "other"] }, // keep
    "ours": {
      "command": "uvx"
    }
  },
  "size": 12
  // the end
}
"""
    )


def test_objects_that_are_missing_are_created_at_the_end() -> None:
    assert set_value(SETTINGS, ("mcp", "ours"), 1).endswith("""\
  "size": 12,
  // the end
  "mcp": {
    "ours": 1
  }
}
""")


def test_a_value_is_replaced_where_it_stands() -> None:
    assert set_value(SETTINGS, ("servers", "other"), {}) == SETTINGS.replace(
        '{ "command": "npx", "args": ["-y", "other"] }', "{}"
    )
    assert set_value(SETTINGS, ("size",), 12) == SETTINGS


@pytest.mark.parametrize("empty", ["", "\n", "// nothing\n", "{}", "{\n}\n"])
def test_an_empty_file_gets_an_object(empty: str) -> None:
    assert parse(set_value(empty, ("a", "b"), [1])) == {"a": {"b": [1]}}
    assert set_value(empty, ("a",), 1).startswith(empty.rstrip("{}\n"))


def test_the_indentation_and_the_line_ends_of_the_file_are_kept() -> None:
    text = '{\r\n\t"a": {\r\n\t\t"b": 1\r\n\t}\r\n}\r\n'
    assert set_value(text, ("a", "c"), {"d": 2}) == (
        '{\r\n\t"a": {\r\n\t\t"b": 1,\r\n\t\t"c": {\r\n\t\t\t"d": 2\r\n\t\t}\r\n\t}\r\n}\r\n'
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "the file is not an object"),
        ('{"a": 1}', "a is not an object"),
        ('{"a": {} "b": 1}', "a comma is missing on line 1"),
        ('{\n"a" 1}', "':' is missing on line 2"),
        ("{1: 2}", "a key is not a string"),
        ('{"a": {}', "a comma is missing"),
        ("{} {}", "there is text after its end"),
        ("{'a': {}}", "Expecting value"),
    ],
)
def test_anything_but_a_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        set_value(text, ("a", "b"), 1)


SCALARS = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["a", "b", 'q"', "é"])


@given(
    st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3),
    st.tuples(KEYS, KEYS),
    VALUES,
    st.sampled_from([None, 1, 2, "\t"]),
)
def test_exactly_one_member_changes(
    before: dict[str, dict[str, Any]], path: tuple[str, str], value: object, indent: int | str | None
) -> None:
    text = json.dumps(before, indent=indent, ensure_ascii=False)
    expected = {**before, path[0]: {**before.get(path[0], {}), path[1]: value}}
    after = set_value(text, path, value)
    assert json.loads(after) == expected == parse(after)
    assert set_value(after, path, value) == after
