"""Find the profile of a model by the name under which a server serves it.

A server gives two names: `root`, what it was started with (a Hugging Face id or a local path), and `id`,
the name it serves the model under. `root` is tried first. Both are untrusted text.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from importlib import resources
from itertools import islice, takewhile
from pathlib import Path
from typing import Final, Literal, Self

from vllm_image_core.models.loader import read_profile, read_profiles
from vllm_image_core.models.profile import FALLBACK, Profile
from vllm_image_core.text import one_line

How = Literal["exact", "alias", "path", "family", "fallback"]

_FALLBACK_FILE = "fallback.toml"
_LONGEST_NAME = 1_000
_MOST_WORDS_BEFORE = 12
_HUB_FOLDER = re.compile(r"models--(?P<org>[^/]+?)--(?P<name>[^/]+)")
_LOCAL_PATH = re.compile(r"[/~.]|[A-Za-z]:/|.*/.*/")
_WEIGHTS_FILE = re.compile(r"\.(?:gguf|safetensors)$")
_SNAPSHOT = re.compile(r"/snapshots/[^/]+$")
# "@main" after a name; a revision such as "refs/pr/3" itself contains slashes.
_REVISION = re.compile(r"(?<=[^/@])@(?:refs/.+|[^/@]+)$")
# "z-image-turbo:latest" and "flux2-klein:4b" are how Ollama and Docker name what they serve.
_TAG = re.compile(r"(?<=[^/:]):(?P<tag>[^/:]+)$")
_NO_TAG = frozenset({"latest", "main", "master", "default"})
_SEPARATORS = re.compile(r"[-_. ]+")
_LETTER_AND_DIGIT = re.compile(r"(?<=[a-z])-?(?=\d)|(?<=\d)-?(?=[a-z])")
# Some publishers put the quantisation first: "nunchaku-qwen-image", "svdq-int4-flux.1-dev".
_QUANTISED_BEFORE = re.compile(r"(?P<how>nunchaku|svdq(?:[-_](?:int|fp)4)?(?:[-_]r\d{1,3})?)[-_](?P<name>.+)")
# Each alternative is one word between separators and no two can match the same word: no backtracking.
_QUANTISATION = re.compile(
    r"""(?:-(?:
        (?:mx|nv)?fp(?:4|6|8) | bf16 | fp16 | fp32 | e4m3(?:fn)? | e5m2 | mixed | scaled | dynamic | static
      | u?int[2-8] | [2-8]-?bits? | w[2-8]a(?:4|8|16) | nf4 | dq | bnb | bitsandbytes
      | exl[23] | [1-8](?:-\d{1,2})?-?bpw | marlin | openvino | ov | tensorrt | trt | optimum
      | (?:int|fp)[48]wo
      | awq | gptq | autoround | auto-round | gguf | torchao | quanto | hqq | sdnq | modelopt | block
      | (?:svd|svdq|svdquant|nunchaku)(?:(?:-(?:int|fp)4)?-r\d{1,3})? | quant(?:i[sz]ed)? | unsloth(?=-bnb)
      | mlx | mflux | onnx | diffusers | ud(?=-i?q) | i?q[1-8](?:-(?:[01]|k|s|m|l|xs|xxs|xl|nl))*
    ))+""",
    re.VERBOSE,
)
# Words for "the same network, fine-tuned": its settings apply, unless a word of `_OTHER_NETWORK` is present.
_TRAINED_ON = frozenset(
    {"lora", "loras", "merge", "merged", "finetune", "finetuned", "tuned", "ft", "sft", "dreambooth"}
)
# Words of other members of these families, whose settings differ: fewer steps, other inputs, other guidance.
_OTHER_NETWORK = frozenset(
    {
        *("base", "raw", "dev", "instruct", "omni", "mini", "lite", "nano", "pro", "ultra", "max", "kv"),
        *("turbo", "lightning", "fast", "flash", "hyper", "lcm", "dmd", "dmd2", "tdm"),
        *("distil", "distill", "distilled"),
        *("schnell", "step", "steps", "few", "tcd", "pcm", "nfe", "guidance", "cfg", "dedistilled"),
        *(
            "edit",
            "editing",
            "kontext",
            "layered",
            "inpaint",
            "inpainting",
            "outpaint",
            "outpainting",
            "fill",
        ),
        *("control", "controlnet", "canny", "depth", "pose", "union", "redux", "adapter", "ipadapter", "fun"),
        *("i2i", "i2l", "img2img", "upscale", "upscaler", "refiner", "video", "i2v", "t2v", "vae", "encoder"),
    }
)
_FEW_STEPS: Final = {
    **dict.fromkeys(("turbo", "lightning", "flash", "hyper", "lcm", "tcd", "tdm", "pcm"), 8),
    **dict.fromkeys(("distil", "distill", "distilled"), 8),
    **dict.fromkeys(("schnell", "dmd", "dmd2"), 4),
}
"""Words that say that an unknown model is distilled, with the steps that such models usually take."""
_STEP_COUNT = re.compile(r"(?<![0-9.])(?P<steps>[1-9][0-9]?)-?(?:steps?|nfe)(?![a-z])")
_LEAST_FAMILY_NAME = 4
_VERSION = re.compile(r"v?\d.*")
_NUMBER = re.compile(r"\d{3,}|\d+(?:b|steps?|nfe)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A profile and how it was found.

    Attributes:
        name: The served name, on one line, printable and bounded.
        profile: The model's profile, or the fallback.
        how: "exact" for a Hugging Face id, "alias" for a served name or another publisher's copy, "path" for
            a local folder or file, "family" for a model whose name says it was made from a known one, by
            quantisation ("-FP8") or fine-tuning, "fallback" for an unknown one.
        warning: What to tell the user if the model itself is not known; a quantised one counts as known.
    """

    name: str
    profile: Profile
    how: How
    warning: str | None = None

    @property
    def in_registry(self) -> bool:
        """Whether the model itself is known, quantised or not; False if only its base model is."""
        return self.warning is None


@functools.cache
def _builtin_profiles() -> Mapping[str, Profile]:
    """Read the package's own profiles once in each process: by the names of their files, sorted."""
    folder = resources.files("vllm_image_core") / "profiles"
    files = {file.name: file for file in folder.iterdir() if file.name.endswith(".toml")}
    return {name: read_profile(files[name].read_text("utf-8"), file=name) for name in sorted(files)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The profiles of the known models, and one for all others.

    Attributes:
        profiles: One for each model; if two fit a name equally well, the first is used.
        fallback: The profile for unknown models.
        guesses_steps: Whether an unknown model whose name says that it is distilled gets few steps.
    """

    profiles: tuple[Profile, ...]
    fallback: Profile
    guesses_steps: bool = True

    @classmethod
    def builtin(cls) -> Self:
        """Load the profiles that come with this package.

        Raises:
            BadProfile: A file of the installed package is broken.
        """
        profiles = dict(_builtin_profiles())
        fallback = profiles.pop(_FALLBACK_FILE)
        return cls(profiles=tuple(profiles.values()), fallback=fallback)

    def with_profiles(self, path: Path | str) -> Self:
        """Return a registry that adds a user's own profiles, which override these.

        Args:
            path: A TOML file, or a folder of them; each may extend a profile of this registry. One whose
                `model` is "fallback" replaces the fallback for unknown models.

        Raises:
            BadProfile: A file does not hold a profile; the message names the file, the key and what is
                allowed.
        """
        own = read_profiles(Path(path), known={each.model: each for each in (*self.profiles, self.fallback)})
        models = {profile.model.casefold() for profile in own}
        return replace(
            self,
            profiles=(
                *(profile for profile in own if profile.is_known),
                *(profile for profile in self.profiles if profile.model.casefold() not in models),
            ),
            fallback=next((profile for profile in own if not profile.is_known), self.fallback),
            guesses_steps=self.guesses_steps and all(profile.is_known for profile in own),
        )

    def assuming_edits(self) -> Self:
        """Return a registry by which unknown models can edit as many images as any known one."""
        most = max(profile.max_input_images for profile in self.profiles)
        source = "Assumed, because the user asked for it; it is not known what the model can do."
        assumed = {"max_input_images": most, "sources": {**self.fallback.sources, "max_input_images": source}}
        return replace(self, fallback=self.fallback.model_copy(update=assumed))

    def by_name(self, model: str) -> Profile | None:
        """Find the profile that a person means by a name, in any case, with or without the publisher."""
        wanted = model.strip().casefold()
        if wanted == FALLBACK:
            return self.fallback
        match = self.find(model)
        return match.profile if match.how in {"exact", "alias"} else None

    def find(self, id: str, root: str | None = None) -> Match:  # noqa: A002 -- the server's word for it
        """Find the profile of a served model.

        Names are compared by their last part, ignoring case: "/models/FLUX.2-klein-4B", a folder of the
        Hugging Face or ModelScope cache and "someone/flux.2-klein-4b-FP8" are all FLUX.2-klein-4B. A
        revision ("@main") is ignored, and a tag (":fp8") is read as the end of the name.
        "someone/Qwen-Image-anime-lora-merged" and "my-qwen-image-lora" belong to the family of Qwen-Image.
        Any other ending ("-Edit", "-base", "-Lightning") makes it a different model.

        Args:
            id: The name that the server gives the model.
            root: What the server was started with, if it says so; tried before `id`.
        """
        for name in (root, id):
            found = self._match_known(name) if name else None
            if found:
                return Match(name=one_line(id), profile=found[0], how=found[1])
        for name in (root, id):
            relative = self._relative(name) if name else None
            if relative:
                warning = (
                    f"Model '{one_line(id)}' is not in the known profiles. Its name says it was made from "
                    f"{relative.model}, so that model's settings are used (steps={relative.default_steps}, "
                    f"guidance={relative.default_guidance_scale})."
                )
                return Match(name=one_line(id), profile=relative, how="family", warning=warning)
        return self._unknown(id or root or "", tuple(name for name in (root, id) if name))

    def _match_known(self, served: str) -> tuple[Profile, How] | None:
        name = _normal(served)
        for profile in self.profiles:
            if name == profile.model.casefold():
                return profile, "exact"
        last, local = _last_part(name), _LOCAL_PATH.match(name) is not None
        for profile in self.profiles:
            if any(name == _normal(alias) for alias in profile.aliases):
                return profile, "path" if local else "alias"
        rests = [(profile, rest) for profile in self.profiles for rest in _rests(last, profile)]
        for profile, rest in rests:
            if rest == "":
                return profile, "path" if local else "alias"
        for profile, rest in rests:
            if _QUANTISATION.fullmatch(rest):
                return profile, "family"
        return None

    def _relative(self, served: str) -> Profile | None:
        """Find the profile with the longest name that this one extends, if the rest keeps its settings."""
        last = _last_part(_normal(served))
        rests = [(rest, profile) for profile in self.profiles for rest in _rests(last, profile)]
        if not rests and _words(last) & _TRAINED_ON:
            rests = [(rest, profile) for profile in self.profiles for rest in _rests_within(last, profile)]
        if not rests:
            return None
        rest, profile = min(rests, key=lambda each: len(each[0]))
        return profile if _is_finetune(rest) else None

    def _unknown(self, shown: str, names: tuple[str, ...]) -> Match:
        """Return the fallback for a model, with fewer steps if one of its names says that it is distilled."""
        lasts = [_last_part(_normal(name)) for name in names]
        profile, hints = self.fallback, list[str]()
        if self.guesses_steps and (few := next(filter(None, map(_few_steps, lasts)), None)):
            word, steps = few
            guessed = {"default_steps": steps, "default_guidance_scale": 0.0}
            sources = {**profile.sources, **dict.fromkeys(guessed, "Guessed from the model's name.")}
            profile = profile.model_copy(update={"type": "distilled", **guessed, "sources": sources})
            hints.append(
                f"Its name says that it is distilled ('{word}'), so it gets few steps and no guidance; "
                "set num_inference_steps and guidance_scale if it needs others."
            )
        if nearest := next(filter(None, map(self._nearest, lasts)), None):
            hints.append(
                f"The nearest profile is {nearest.model}; to use its settings, write a profile with "
                f'extends = "{nearest.model}".'
            )
        warning = (
            f"Model '{one_line(shown)}' is not in the known profiles. Using fallback defaults "
            f"(steps={profile.default_steps}, guidance={profile.default_guidance_scale}). "
            "Generation may produce unexpected results."
        )
        return Match(
            name=one_line(shown), profile=profile, how="fallback", warning=" ".join((warning, *hints))
        )

    def _nearest(self, last: str) -> Profile | None:
        """Find the profile of the same family whose name is most like this one; None if there is none."""
        words = _family_words(last)
        near = [
            (common, _is_variant(words, other), SequenceMatcher(None, last, name).ratio(), profile)
            for profile in self.profiles
            for name in (_last_part(_normal(known)) for known in (profile.model, *profile.aliases))
            if _is_family(words, other := _family_words(name), common := _common_start(words, other))
        ]
        return max(near, key=lambda each: each[:3])[3] if near else None

    def __iter__(self) -> Iterator[Profile]:
        return iter(self.profiles)


def _normal(served: str) -> str:
    """Normalise a name: lower case, forward slashes, no trailing slash, no file suffix."""
    path = served[-_LONGEST_NAME:].strip().casefold().replace("\\", "/").rstrip("/")
    plain = _TAG.sub(_tag_suffix, _REVISION.sub("", path))
    return _WEIGHTS_FILE.sub("", plain)


def _tag_suffix(tag: re.Match[str]) -> str:
    """Turn a tag into a part of the name; drop it if it names a copy rather than a model."""
    return "" if tag["tag"] in _NO_TAG else f"-{tag['tag']}"


def _last_part(name: str) -> str:
    """Return the model's own name, without its publisher and folders."""
    hub = _HUB_FOLDER.search(name)
    last = hub["name"] if hub else _SNAPSHOT.sub("", name).rpartition("/")[2].rpartition("--")[2]
    before = _QUANTISED_BEFORE.fullmatch(last)
    return f"{before['name']}-{before['how']}" if before else last


def _rests(last: str, profile: Profile) -> Iterator[str]:
    """Yield what follows a profile's name in another, for each of its names that the other begins with."""
    for known in (profile.model, *profile.aliases):
        rest = _rest(last, _last_part(_normal(known)))
        if rest is not None:
            yield rest


def _rests_within(last: str, profile: Profile) -> Iterator[str]:
    """Yield what follows a profile's name inside another that has words before it: "my-qwen-image-lora".

    Names of one word, such as "Lance", are skipped: inside another name they may mean something else.
    """
    separators = islice(_SEPARATORS.finditer(last), _MOST_WORDS_BEFORE)
    starts = [separator.end() for separator in separators]
    for known in (profile.model, *profile.aliases):
        name = _last_part(_normal(known))
        if _SEPARATORS.search(name) is None:
            continue
        for start in starts:
            rest = _rest(last[start:], name)
            if rest is not None and _keeps_settings(_words(last[:start])):
                yield rest


def _few_steps(last: str) -> tuple[str, int] | None:
    """Return the word by which a name says that its model is distilled, and the steps it probably needs."""
    counted = _STEP_COUNT.search(last)
    word = next((word for word in _SEPARATORS.split(last) if word in _FEW_STEPS), None)
    if counted:
        return word or counted[0], int(counted["steps"])
    return (word, _FEW_STEPS[word]) if word else None


def _family_words(name: str) -> list[str]:
    """Split a name into words and numbers: "flux1-dev" and "FLUX.1-dev" are the same."""
    return [word for word in _SEPARATORS.split(_LETTER_AND_DIGIT.sub("-", name)) if word]


def _common_start(words: list[str], others: list[str]) -> int:
    """Count the words that two names begin with."""
    pairs = zip(words, others, strict=False)
    return len([*takewhile(lambda pair: pair[0] == pair[1], pairs)])


def _is_variant(words: list[str], others: list[str]) -> bool:
    """Check whether a name is another one followed by a word, as in "qwen-image-lightning"; no version."""
    return words[: len(others)] == others and not "".join(words[len(others) :][:1]).isdecimal()


def _is_family(words: list[str], others: list[str], common: int) -> bool:
    """Whether names with this many words in common name one family: "qwen-image", or "flux" and a version."""
    if common != 1:
        return common > 1
    versions = [*words[1:2], *others[1:2]]
    return len(words[0]) >= _LEAST_FAMILY_NAME and "".join(versions).isdecimal()


def _words(name: str) -> set[str]:
    return set(_SEPARATORS.split(name)) - {""}


def _rest(last: str, known: str) -> str | None:
    """Return what follows a known name; None if the name is a different one.

    All separators are equal, and between a letter and a digit they are optional: "FLUX.2-klein-4B",
    "flux2-klein-4b" and ModelScope's "FLUX___2-klein-4B" are the same.
    """
    if not known:
        return None
    found = re.match(_any_spelling(known), last)
    return None if found is None else _SEPARATORS.sub("-", last[found.end() :])


def _any_spelling(known: str) -> str:
    """Build a pattern for a known name, whatever separates its words; `re` caches the compiled pattern."""
    words = _LETTER_AND_DIGIT.sub("?", _SEPARATORS.sub("-", known))
    return re.escape(words).replace(r"\-", "[-_. ]+").replace(r"\?", "[-_. ]*")


def _is_finetune(rest: str) -> bool:
    """Whether the rest of a name says that the model was fine-tuned, and nothing that changes settings."""
    glued, *words = rest.split("-")
    if glued or not words or _VERSION.fullmatch(words[0]):
        return False
    return not _TRAINED_ON.isdisjoint(words) and _keeps_settings(words)


def _keeps_settings(words: Iterable[str]) -> bool:
    """Whether none of these words stands for another network, or is a number that may be a step count."""
    return all(word not in _OTHER_NETWORK and not _NUMBER.fullmatch(word) for word in words)
