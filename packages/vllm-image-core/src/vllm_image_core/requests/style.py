"""Define a style: words around the prompt, what to keep out, and settings, saved under a name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vllm_image_core.models.profile import Profile

TEXTS: Final = ("description", "prefix", "suffix", "negative_prompt")
"""The texts of a style."""

_PUNCTUATION: Final = ",.;:!?)]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A saved look: words around the prompt, what to keep out, and settings that the request does not have.

    Attributes:
        name: Letters, digits, hyphens and underscores.
        description: What it looks like, in a few words.
        prefix: Written before the prompt.
        suffix: Written after the prompt.
        negative_prompt: Added to the request's own, if the model supports negative prompts.
        settings: Fields of the request, such as ``{"guidance_scale": 4, "lora": "/loras/ink:0.8"}``.
        models: The same by a part of a model's name, such as ``{"qwen-image": {"guidance_scale": 4}}``; they
            may also have a prefix, a suffix and a negative prompt, and override the above.
    """

    name: str
    description: str = ""
    prefix: str = ""
    suffix: str = ""
    negative_prompt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    def as_table(self) -> dict[str, object]:
        """Return everything but the name and empty values; `read_style` reads it."""
        texts: dict[str, object] = {key: text for key in TEXTS if (text := getattr(self, key))}
        settings: dict[str, object] = {"settings": dict(self.settings)} if self.settings else {}
        models = {key: dict(values) for key, values in self.models.items() if values}
        return texts | settings | ({"models": models} if models else {})

    def __str__(self) -> str:
        return self.name

    def for_model(self, profile: "Profile") -> "Style":
        """Return the style with the settings of the longest key that is a part of the model's name."""
        names = [name.casefold() for name in (profile.model, *profile.aliases)]
        keys = [key for key in self.models if any(key.casefold() in name for name in names)]
        if not keys:
            return replace(self, models={})
        own = self.models[max(keys, key=len)]
        texts = {key: value for key, value in own.items() if key in TEXTS}
        settings = {key: value for key, value in own.items() if key not in TEXTS}
        return replace(self, **texts, settings={**self.settings, **settings}, models={})

    def styled(self, prompt: str) -> str:
        """Return a prompt with the words of the style around it."""
        before = self.prefix and f"{self.prefix.rstrip()} "
        after = self.suffix.strip()
        gap = "" if not after or after[0] in _PUNCTUATION else " "
        return f"{before}{prompt.strip()}{gap}{after}" if before or after else prompt
