"""Values as hosts write them: converted to what they mean, and otherwise left alone."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from vllm_image_mcp.tools.argument_values import convert_arguments, draw_random_seeds

PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "prompt": {"type": "string"},
    "negative_prompt": {"type": "string"},
    "quality": {"type": "string", "enum": ["draft", "best"]},
    "width": {"type": "integer"},
    "guidance_scale": {"type": "number"},
    "max_wait": {"type": "number"},
    "wait": {"type": "boolean"},
    "seeds": {"type": "array", "items": {"type": "integer"}},
    "prompts": {"type": "array", "items": {"type": "string"}},
    "sweep": {"type": "object"},
}


def converted(**arguments: object) -> dict[str, object]:
    return convert_arguments(arguments, PARAMETERS, required={"prompt", "prompts"})


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("width", "256", 256),
        ("width", " 256\n", 256),
        ("width", "256.0", 256),
        ("width", "2.56e2", 256),
        ("width", "+256", 256),
        ("width", "-16", -16),
        ("width", 256.0, 256),
        ("guidance_scale", "3.5", 3.5),
        ("guidance_scale", ".5", 0.5),
        ("guidance_scale", "4", 4),
        ("wait", "true", True),
        ("wait", "FALSE", False),
        ("seeds", "[1, 2]", [1, 2]),
        ("seeds", ["1", 2.0], [1, 2]),
        ("seeds", '["1", 2.0]', [1, 2]),
        ("prompts", '["a", "7"]', ["a", "7"]),
        ("sweep", '{"seed": ["1", 2.0], "quality": ["draft"]}', {"seed": [1, 2], "quality": ["draft"]}),
        ("sweep", {"steps": "[4, 8]"}, {"steps": [4, 8]}),
        ("sweep", {"guidance_scale": ["1.5", "2"]}, {"guidance_scale": [1.5, 2]}),
        ("sweep", {"negative_prompt": ["", "7"]}, {"negative_prompt": ["", "7"]}),
    ],
)
def test_a_value_is_used_as_it_was_meant(name: str, given: object, taken: object) -> None:
    value = converted(**{name: given})[name]
    assert (value, type(value)) == (taken, type(taken))


OTHERS: Mapping[str, Sequence[object]] = {
    "width": (
        *("wide", "256px", "1,024", "0x10", "1_000", "٣", "7.5", "true", "--7", "1e999", "1e999999999"),
        *("9" * 5_000, True, 7.5, float("inf"), None, {}),
    ),
    "guidance_scale": ("nan", "inf", "five", "1.2.3", True, None),
    "wait": ("yes", "1", 1, 0, None),
    "seeds": ("7", "1, 2", "[1", 7, {"0": 1}),
    "prompts": ("a red fox", "[red] fox", "7", None, "", "[" * 9_999),
    "sweep": ("seed", "[1]", [1]),
    "prompt": ("7", "true", "null", '["a"]', '{"a": 1}', "", 7, None),
    "negative_prompt": ("7", "null", '["blur"]', " ", 7),
}


@pytest.mark.parametrize(
    ("name", "given"), [(name, given) for name, values in OTHERS.items() for given in values]
)
def test_any_other_value_is_unchanged(name: str, given: object) -> None:
    assert converted(**{name: given}) == {name: given}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("width", given) for given in ("", " ", "null")),
        *(("negative_prompt", given) for given in ("",)),
        *(("quality", given) for given in ("", "null")),
        *(("seeds", given) for given in ("", "null")),
        *(("sweep", given) for given in ("", "null")),
        *(("wait", given) for given in ("",)),
        *(("max_wait", given) for given in ("", "auto")),
    ],
)
def test_an_optional_parameter_without_a_value_is_omitted(name: str, given: str) -> None:
    assert converted(**{name: given, "prompt": "a"}) == {"prompt": "a"}


def test_the_seed_minus_one_is_random() -> None:
    sweep = {"seed": [-1, 5], "guidance_scale": [-1]}
    drawn, was_drawn = draw_random_seeds({"seed": -1, "seeds": [-1, 3], "sweep": sweep, "width": -1})
    assert was_drawn
    assert drawn.keys() == {"seeds", "sweep", "width"}
    seeds, swept = cast("list[int]", drawn["seeds"]), cast("dict[str, list[int]]", drawn["sweep"])
    assert (seeds[1], swept["seed"][1], drawn["width"], swept["guidance_scale"]) == (3, 5, -1, [-1])
    assert all(0 <= each < 2**32 for each in (seeds[0], swept["seed"][0]))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"seed": -2}, {"seed": 0}, {"seed": True}, {"seed": None}, {"seeds": [-7]}, {"seeds": -1}],
)
def test_any_other_seed_is_unchanged(arguments: dict[str, object]) -> None:
    assert draw_random_seeds(arguments) == (arguments, False)
