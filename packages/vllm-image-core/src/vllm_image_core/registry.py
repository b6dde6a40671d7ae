"""The registry: from what a server says it serves to the profile of that model.

A server tells two names: `root`, what it was started with (a Hugging Face id or a local path), and `id`,
the name it serves it under. `root` is asked first. Both are untrusted text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Literal, Self

from vllm_image_core.profile import Profile
from vllm_image_core.text import one_line

How = Literal["exact", "path", "alias", "quantised", "fallback"]

_FALLBACK_FILE = "fallback.toml"
_LONGEST_NAME = 1_000
_HUB_FOLDER = re.compile(r"models--(?P<org>[^/]+?)--(?P<name>[^/]+)")
_LOCAL_PATH = re.compile(r"[/~.]|[A-Za-z]:/|.*/.*/")
_WEIGHTS_FILE = re.compile(r"\.(?:gguf|safetensors)$")
_SEPARATORS = re.compile(r"[-_. ]+")
# Each alternative is one word between separators and no two can match the same word: no backtracking.
_QUANTISATION = re.compile(
    r"""(?:-(?:
        (?:mx|nv)?fp(?:4|6|8) | bf16 | fp16 | fp32 | e4m3(?:fn)? | e5m2 | mixed | scaled | dynamic | static
      | u?int[2-8] | [2-8]bits? | w[2-8]a(?:4|8|16) | nf4 | bnb | bitsandbytes | awq | gptq | autoround
      | gguf | torchao | quanto | sdnq | svdq | svdquant | nunchaku | modelopt | quant(?:i[sz]ed)? | block
      | i?q[1-8](?:-(?:[01]|k|s|m|l|xs|xxs|xl|nl))*
    ))+""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A profile, and how it was found.

    Attributes:
        name: The served name, on one line, printable and bounded.
        profile: The model's profile, or the fallback.
        how: "exact" for a Hugging Face id, "path" for a local folder or file, "alias" for a served name or
            another publisher's copy, "quantised" for one of these with a suffix such as "-FP8", "fallback"
            for a model that is not known.
        warning: What to tell the user, when the model is not known.
    """

    name: str
    profile: Profile
    how: How
    warning: str | None = None

    @property
    def in_registry(self) -> bool:
        """Whether the model is known."""
        return self.how != "fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The profiles of the models that are known, and one for all others.

    Attributes:
        profiles: One for each model, no two with the same last part of the name.
        fallback: For a model that is not known.
    """

    profiles: tuple[Profile, ...]
    fallback: Profile

    @classmethod
    def builtin(cls) -> Self:
        """The profiles that come with this package.

        Raises:
            BadProfile: A file of the installed package is broken.
        """
        folder = resources.files("vllm_image_core") / "profiles"
        files = {file.name: file for file in folder.iterdir() if file.name.endswith(".toml")}
        fallback = files.pop(_FALLBACK_FILE)
        return cls(
            profiles=tuple(
                Profile.from_toml(files[name].read_text("utf-8"), file=name) for name in sorted(files)
            ),
            fallback=Profile.from_toml(fallback.read_text("utf-8"), file=_FALLBACK_FILE),
        )

    def find(self, id: str, root: str | None = None) -> Match:  # noqa: A002 -- the server's word for it
        """The profile of a served model.

        Compared without regard to case, on the last part of the name: "/models/FLUX.2-klein-4B",
        a folder of the Hugging Face or ModelScope cache and "someone/flux.2-klein-4b-FP8" are all
        FLUX.2-klein-4B. Any other rest of the name ("-Edit", "-base", "-Lightning") is another model.

        Args:
            id: The name that the server gives the model.
            root: What the server was started with, where it tells; asked before `id`.
        """
        for told in (root, id):
            found = self._known(told) if told else None
            if found:
                return Match(name=one_line(id), profile=found[0], how=found[1])
        return self._unknown(one_line(id or root or ""))

    def _known(self, told: str) -> tuple[Profile, How] | None:
        name = _normal(told)
        for profile in self.profiles:
            if name == profile.model.casefold():
                return profile, "exact"
        last, local = _last_part(name), _LOCAL_PATH.match(name) is not None
        for profile in self.profiles:
            rest = _rest(last, _last_part(profile.model.casefold()))
            if rest == "":
                return profile, "path" if local else "alias"
            if rest is not None and _QUANTISATION.fullmatch(rest):
                return profile, "quantised"
        return None

    def _unknown(self, name: str) -> Match:
        steps, guidance = self.fallback.default_steps, self.fallback.default_guidance_scale
        warning = (
            f"Model '{name}' is not in the known profiles. Using fallback defaults "
            f"(steps={steps}, guidance={guidance}). Generation may produce unexpected results."
        )
        return Match(name=name, profile=self.fallback, how="fallback", warning=warning)

    def __iter__(self) -> Iterator[Profile]:
        return iter(self.profiles)


def _normal(told: str) -> str:
    """One spelling: no case, forward slashes, none at the end, no file suffix."""
    path = told[-_LONGEST_NAME:].strip().casefold().replace("\\", "/").rstrip("/")
    return _WEIGHTS_FILE.sub("", path)


def _last_part(name: str) -> str:
    """The model's own name, without its publisher and folders."""
    hub = _HUB_FOLDER.search(name)
    return hub["name"] if hub else name.rpartition("/")[2].rpartition("--")[2]


def _rest(last: str, known: str) -> str | None:
    """What follows a known name; None where the name is another.

    All separators count as one: "FLUX.2-klein-4B", "flux-2-klein-4b" and ModelScope's "FLUX___2-klein-4B"
    are the same.
    """
    spelled, expected = _SEPARATORS.sub("-", last), _SEPARATORS.sub("-", known)
    return spelled.removeprefix(expected) if spelled.startswith(expected) else None
