import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_mcp.tools.checks import check_prompts


@pytest.mark.parametrize("count", [1, 20])
def test_one_to_twenty_prompts_are_a_batch(count: int) -> None:
    check_prompts([f"fox {number}" for number in range(count)], None)


@pytest.mark.parametrize("count", [0, 21, 1000])
def test_an_empty_list_and_more_than_twenty_are_not(count: int) -> None:
    with pytest.raises(
        InvalidRequest, match=f"^prompts has {count} entries; a batch takes 1 to 20\\.$"
    ) as caught:
        check_prompts(["fox"] * count, None)
    assert caught.value.parameter == "prompts"


@pytest.mark.parametrize("value", ["fox", {"0": "fox"}, 7, True, None])
def test_anything_but_a_list_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="is not a list") as caught:
        check_prompts(value, None)
    assert caught.value.parameter == "prompts"


@pytest.mark.parametrize("value", ["12", {"0": 1}, 7, True])
def test_seeds_that_are_not_a_list_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="is not a list") as caught:
        check_prompts(["fox", "owl"], value)
    assert caught.value.parameter == "seeds"
