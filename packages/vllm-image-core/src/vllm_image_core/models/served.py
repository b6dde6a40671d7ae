"""Choose the model to use of those that a server lists, and match it with its profile."""

from dataclasses import dataclass, replace
from typing import Final

from vllm_omni_client.errors import BadReply, ModelChanged
from vllm_omni_client.models import ModelCard, ModelList

from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Match, Registry
from vllm_image_core.text import one_line

_NAMED: Final = 6
_REFUSED: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ServedModel(Displayed):
    """A loaded model: the name that requests must use, and its profile."""

    name: str
    """The server's first name for it, as requests must spell it; the server lists others but refuses them."""
    match: Match
    others: tuple[str, ...] = ()
    """Other models that the server lists, if it was not said which one to use."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the model and its profile, one string each."""
        return tuple(text for text in (self.match.warning, self._choice()) if text)

    def _choice(self) -> str:
        if not self.others:
            return ""
        return (
            f"The server lists several models; {self.match.name} is used. Others: {_names(self.others)}. "
            "To use one of them, name it with `model`."
        )

    @property
    def profile(self) -> Profile:
        """The model's profile, or the fallback."""
        return self.match.profile

    def _card(self) -> Card:
        profile = self.profile
        return Card(
            title=self.name,
            facts={
                "profile": f"{profile.model} ({self.match.how} match)",
                "steps": profile.default_steps,
                "guidance": profile.default_guidance_scale,
                "size": f"{profile.default_width}x{profile.default_height}",
                "edits": f"up to {profile.max_input_images} images" if profile.max_input_images else "none",
                "licence": profile.licence,
            },
            notes=(self.match.warning,) if self.match.warning else (),
        )

    def for_version(self, version: str | None) -> "ServedModel":
        """Return the same model with the profile for a server of this version."""
        profile = self.profile.for_version(version)
        return self if profile is self.profile else replace(self, match=replace(self.match, profile=profile))


def choose_model(models: ModelList, registry: Registry, wanted: str | None = None) -> ModelList:
    """Return a server's list with the model to use first.

    A vLLM-Omni lists one model under several names and accepts the first, so its order stays. A gateway in
    front of several servers lists several models: the wanted one is used, or the first with a profile.

    Args:
        models: What the server lists.
        registry: Model profiles.
        wanted: The name or the Hugging Face id of a model; None for the first one with a profile.

    Raises:
        ModelChanged: The server does not list the wanted model.
    """
    if not models.data:
        return models
    chosen = _first_known(models, registry) if wanted is None else _named(models, wanted)
    if len(_distinct(models)) == 1:
        return models
    others = tuple(card for card in models.data if card is not chosen)
    return models.model_copy(update={"data": (chosen, *others)})


def _distinct(models: ModelList) -> set[str]:
    """Return a name for each different model of a list."""
    return {card.root or card.id for card in models.data}


def _first_known(models: ModelList, registry: Registry) -> ModelCard:
    known = (card for card in models.data if registry.find(card.id, card.root).how != "fallback")
    return next(known, models.data[0])


def _named(models: ModelList, wanted: str) -> ModelCard:
    plain = wanted.casefold()
    found = [card for card in models.data if plain in {card.id.casefold(), (card.root or "").casefold()}]
    if found:
        return max(found, key=lambda card: (card.id == wanted, card.root == wanted))
    served = tuple(card.id for card in models.data)
    raise ModelChanged(
        f"the server does not list the model {one_line(wanted)}; it lists {_names(served)}",
        status=_REFUSED,
        requested=wanted,
        served=served,
    )


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(map(one_line, names[:_NAMED]))}{more}"


def match_served_model(models: ModelList, registry: Registry, wanted: str | None = None) -> ServedModel:
    """Return the first model of a list with its profile; `choose_model` has put it there."""
    if not models.data:
        raise BadReply("The server lists no model at /v1/models.")
    card = models.data[0]
    others = {each.id: None for each in models.data if (each.root or each.id) != (card.root or card.id)}
    return ServedModel(
        name=card.id,
        match=registry.find(card.id, card.root),
        others=() if wanted is not None else tuple(others),
    )
