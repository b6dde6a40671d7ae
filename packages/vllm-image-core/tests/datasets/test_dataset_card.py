"""A dataset card has the licences of the models."""

from vllm_image_core.datasets.dataset_card import dataset_card
from vllm_image_core.models.registry import Registry

REGISTRY = Registry.builtin()


def card(**models: int) -> str:
    return dataset_card(title='"Foxes"', kind="parquet", models=models, chosen="none", registry=REGISTRY)


def test_a_model_without_restrictions_leaves_the_licence_to_you() -> None:
    free = next(each.model for each in REGISTRY if each.licence is None)

    text = card(**{free: 1_200})

    assert "license:" not in text
    assert f"| {free} | 1,200 | permits any use |" in text
    assert "- 1K<n<10K" in text
    assert r'pretty_name: "\"Foxes\""' in text


def test_a_restricted_or_unknown_model_makes_the_licence_other() -> None:
    restricted = next(each for each in REGISTRY if each.licence is not None)

    assert "license: other" in card(**{restricted.model: 1})
    assert "| nobody/knows | 1 | unknown: there is no profile for this model |" in card(**{"nobody/knows": 1})
