"""Requests and outcomes as the journal stores them."""

from vllm_image_core.batches.stored_items import ItemState


def test_numbers_of_states_in_journals_never_change_their_meaning() -> None:
    assert {state.name: int(state) for state in ItemState} == {"WAITING": 0, "DONE": 1, "FAILED": 2}
