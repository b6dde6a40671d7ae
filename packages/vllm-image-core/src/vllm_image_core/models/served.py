"""Match the model that a server has loaded with its profile."""

from dataclasses import dataclass, replace

from vllm_omni_client.errors import BadReply
from vllm_omni_client.models import ModelList

from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Match, Registry


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ServedModel(Displayed):
    """A loaded model: the name that requests must use, and its profile."""

    name: str
    """The server's first name for it, as requests must spell it; the server lists others but refuses them."""
    match: Match

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


def match_served_model(models: ModelList, registry: Registry) -> ServedModel:
    """Return the first served model with its profile; a server has one model, with several names."""
    if not models.data:
        raise BadReply("The server lists no model at /v1/models.")
    card = models.data[0]
    return ServedModel(name=card.id, match=registry.find(card.id, card.root))
