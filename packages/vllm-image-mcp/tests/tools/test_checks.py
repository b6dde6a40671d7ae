import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_mcp.tools.checks import prompts_with_seeds


@pytest.mark.parametrize("count", [1, 20])
def test_one_to_twenty_prompts_are_a_batch(count: int) -> None:
    prompts = [f"fox {number}" for number in range(count)]
    assert prompts_with_seeds(prompts, None) == (prompts, [None] * count)


@pytest.mark.parametrize("count", [0, 21, 1000])
def test_none_and_more_than_twenty_are_not(count: int) -> None:
    with pytest.raises(
        InvalidRequest, match=f"^prompts has {count} entries; a batch takes 1 to 20\\.$"
    ) as caught:
        prompts_with_seeds(["fox"] * count, None)
    assert caught.value.parameter == "prompts"


def test_each_prompt_has_its_seed() -> None:
    assert prompts_with_seeds(["fox", "owl"], [1, 2]) == (["fox", "owl"], [1, 2])


@pytest.mark.parametrize("seeds", [[], [1], [1, 2, 3]])
def test_another_number_of_seeds_is_refused(seeds: list[int]) -> None:
    with pytest.raises(
        InvalidRequest, match=f"^seeds has {len(seeds)} entries for 2 prompts\\. Use"
    ) as caught:
        prompts_with_seeds(["fox", "owl"], seeds)
    assert caught.value.parameter == "seeds"


@pytest.mark.parametrize("value", ["fox", {"0": "fox"}, 7, True, None])
def test_what_is_no_list_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="is not a list") as caught:
        prompts_with_seeds(value, None)  # type: ignore[arg-type]  # what a host may send
    assert caught.value.parameter == "prompts"


@pytest.mark.parametrize("value", ["12", {"0": 1}, 7, True])
def test_seeds_that_are_no_list_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="is not a list") as caught:
        prompts_with_seeds(["fox", "owl"], value)  # type: ignore[arg-type]  # what a host may send
    assert caught.value.parameter == "seeds"
