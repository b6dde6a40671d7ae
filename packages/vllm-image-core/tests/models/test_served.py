"""The right one of the models that a server lists is used."""

import pytest
from vllm_image_core.models.registry import Registry
from vllm_image_core.models.served import choose_model, match_served_model
from vllm_omni_client.errors import BadReply, ModelChanged
from vllm_omni_client.models import ModelCard, ModelList

REGISTRY = Registry.builtin()
KLEIN = "black-forest-labs/FLUX.2-klein-4B"


def listing(*cards: tuple[str, str | None]) -> ModelList:
    return ModelList(data=tuple(ModelCard(id=name, root=root) for name, root in cards))


GATEWAY = listing(("llama", None), ("painter", "acme/Painter"), ("klein", KLEIN), ("Painter", "acme/other"))


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        (None, "klein"),
        ("painter", "painter"),
        ("Painter", "Painter"),
        ("acme/Painter", "painter"),
        (KLEIN, "klein"),
        (KLEIN.lower(), "klein"),
        ("LLAMA", "llama"),
    ],
)
def test_a_gateway_has_the_wanted_model_first_or_one_that_is_known(wanted: str | None, first: str) -> None:
    chosen = choose_model(GATEWAY, REGISTRY, wanted)
    assert chosen.data[0].id == first
    assert sorted(card.id for card in chosen.data) == sorted(card.id for card in GATEWAY.data)


@pytest.mark.parametrize("wanted", [None, "default", "klein", KLEIN])
def test_the_names_of_one_model_stay_in_the_order_of_the_server(wanted: str | None) -> None:
    listed = listing(("default", KLEIN), ("klein", KLEIN))
    assert choose_model(listed, REGISTRY, wanted) == listed


def test_a_list_without_a_known_model_stays_as_it_is() -> None:
    listed = listing(("llama", None), ("painter", None))
    assert choose_model(listed, REGISTRY) == listed


def test_a_model_that_is_not_listed_is_refused_with_those_that_are() -> None:
    with pytest.raises(ModelChanged) as caught:
        choose_model(GATEWAY, REGISTRY, "other")
    assert (caught.value.requested, caught.value.served) == (
        "other",
        ("llama", "painter", "klein", "Painter"),
    )
    assert "it lists llama, painter, klein, Painter" in caught.value.message


def test_an_empty_list_stays_empty_and_has_no_model() -> None:
    assert choose_model(listing(), REGISTRY, "other") == listing()
    with pytest.raises(BadReply, match="lists no model"):
        match_served_model(listing(), REGISTRY)


def test_other_models_are_named_unless_one_was_chosen() -> None:
    listed = choose_model(GATEWAY, REGISTRY)
    assert match_served_model(listed, REGISTRY).others == ("llama", "painter", "Painter")
    assert match_served_model(listed, REGISTRY, "klein").others == ()
    [warning] = match_served_model(listed, REGISTRY).warnings
    assert warning.startswith(
        "The server lists several models; klein is used. Others: llama, painter, Painter."
    )


def test_a_long_list_is_cut() -> None:
    listed = listing(*((f"model-{number}", None) for number in range(30)))
    assert "model-1, model-2, model-3, model-4, model-5, model-6 and 23 more" in " ".join(
        match_served_model(listed, REGISTRY).warnings
    )


def test_a_single_model_has_no_warning() -> None:
    assert match_served_model(listing(("default", KLEIN), ("klein", KLEIN)), REGISTRY).warnings == ()
