"""Read a LoRA as callers write it: a path on the server or a name that the profile knows, and a scale."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, cast

from vllm_image_core.checks import invalid_value
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import brief, one_line

if TYPE_CHECKING:
    from vllm_omni_client.models import Lora

    from vllm_image_core.models.profile import Profile

ALLOWED: Final = (
    "a path on the server, a Hugging Face id or a name from the model's profile, with a scale after a colon, "
    "such as /loras/watercolor:0.8"
)

_TAG: Final = re.compile(r"<lora:(.+)>", re.IGNORECASE)
_SCALE: Final = re.compile(r"(.+):([+-]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}))", re.ASCII | re.DOTALL)
_NAMED: Final = re.compile(r"([^/\\=]*)=(.*)", re.DOTALL)
_SUFFIXES: Final = (".safetensors", ".bin", ".pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraChoice:
    """One LoRA adapter and how strongly it is applied; `str` gives the text that `read_lora` reads.

    Attributes:
        name: What it is called in results and files.
        path: Its path on the server, or a Hugging Face id; None until it is looked up in a profile.
        scale: Its weight; 1 applies it as it was trained.
    """

    name: str
    path: str | None = None
    scale: float = 1.0

    def __str__(self) -> str:
        place = "" if self.path is None else f"={self.path}"
        return f"{self.name}{place}:{self.scale:.12g}"

    @property
    def tag(self) -> str:
        """The tag by which AUTOMATIC1111 and similar programs name it inside a prompt."""
        return f"<lora:{self.name}:{self.scale:.12g}>"

    def found_in(self, profile: "Profile") -> "LoraChoice":
        """Return it with its path, which the model's profile knows if only the name was given.

        Raises:
            InvalidRequest: The profile has no LoRA with this name.
        """
        if self.path is not None:
            return self
        known = {name.casefold(): (name, path) for name, path in profile.loras.items()}
        found = known.get(self.name.casefold())
        if found is not None:
            return replace(self, name=found[0], path=found[1])
        names = (
            f"LoRAs of this profile: {', '.join(profile.loras)}." if profile.loras else "It names no LoRA."
        )
        raise InvalidRequest(
            f"lora: {brief(self.name)} is not a path on the server, and the profile of {profile.model} has "
            f"no LoRA with this name. {names}",
            parameter="lora",
            value=str(self),
            allowed=ALLOWED,
            next_step="Give the LoRA's path on the server, or add its name and path to [loras] in a profile.",
        )

    def to_wire(self) -> "Lora":
        """Return it as the server takes it, which needs both a name and a path."""
        from vllm_omni_client.models import Lora  # noqa: PLC0415 - slow to import

        return Lora(name=self.name, path=self.path or self.name, scale=self.scale)


def as_lora_text(value: object) -> object:
    """Return a LoRA that is an object with name, path and scale as text, and any other value as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        several = cast("Sequence[object]", value)
        if len(several) == 1:
            return as_lora_text(several[0])
        raise invalid_value("lora", several, "is not one LoRA, and vLLM-Omni takes one per request", ALLOWED)
    from vllm_omni_client.models import Lora  # noqa: PLC0415 - slow to import

    fields = value.model_dump() if isinstance(value, Lora) else value
    if not isinstance(fields, Mapping):
        return value
    given: dict[object, object] = dict(fields)  # pyright: ignore[reportUnknownArgumentType] - a caller's values
    name, path, scale = (given.pop(key, None) for key in ("name", "path", "scale"))
    given.pop("int_id", None)
    if given or not (name or path):
        raise invalid_value("lora", value, "does not have just a name, a path and a scale", ALLOWED)
    place = f"{name}={path}" if name and path else f"{name or path}"
    return place if scale is None else f"{place}:{scale}"


def read_lora(text: str) -> LoraChoice:
    """Read `[NAME=]PATH[:SCALE]`, `NAME[:SCALE]` or `<lora:NAME:SCALE>`; the scale is 1 if none is given.

    Without a name, it is the last part of the path. Text without a slash is a name, unless it has a "=".

    Raises:
        InvalidRequest: It is blank, has several lines, or its scale is not a finite number.
    """
    tag = _TAG.fullmatch(text.strip())
    inside = tag[1] if tag else text.strip()
    scaled = _SCALE.fullmatch(inside)
    place, scale = (scaled[1].strip(), float(scaled[2])) if scaled else (inside, 1.0)
    named = _NAMED.fullmatch(place)
    name, path = (named[1].strip(), named[2].strip()) if named else ("", place)
    if not path or not text.isprintable() or not math.isfinite(scale) or (named and not name):
        raise invalid_value("lora", one_line(text), "does not name a LoRA", ALLOWED)
    if not named and "/" not in path and "\\" not in path:
        return LoraChoice(name=path, scale=scale)
    return LoraChoice(name=name or _last_part(path), path=path, scale=scale)


def _last_part(path: str) -> str:
    name = PurePosixPath(path.replace("\\", "/")).name or path
    return name.removesuffix(next((end for end in _SUFFIXES if name.endswith(end)), "")) or name
