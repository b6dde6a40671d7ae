"""Tags."""

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.limits import check, check_tag


@pytest.mark.parametrize("tag", [None, "winter", "Série 2 / 雪", "x" * 100])
def test_a_tag_is_short_text_or_none(tag: str | None) -> None:
    check_tag(tag)


@pytest.mark.parametrize("tag", ["", " ", "x" * 101, "a\nb", "a\0b", "\u202ea", "\ud800", 7, True, ["a"]])
def test_any_other_tag_is_refused(tag: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_tag(tag)
    assert caught.value.parameter == "tag"


def test_a_list_of_values_leads_to_a_sweep() -> None:
    with pytest.raises(InvalidRequest, match="seed: a list is not an integer") as caught:
        check("seed", [1, 2, 3, 4, 5])
    assert 'sweep={"seed": [1, 2, 3, 4, ...]}' in caught.value.next_step
