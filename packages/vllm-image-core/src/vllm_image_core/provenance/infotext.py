"""Write and parse infotext, the `parameters` text of AUTOMATIC1111, Forge, SD.Next and Civitai.

    a red fox in the snow
    Negative prompt: blurry
    Steps: 28, CFG scale: 5.0, Seed: 42, Size: 1024x1024, Model: Qwen/Qwen-Image

Source: `create_infotext` and `parse_generation_parameters` in AUTOMATIC1111's stable-diffusion-webui 1.10.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vllm_image_core.provenance.facts import Facts, Tool, is_json
from vllm_image_core.requests.fields import PLAIN_FIELDS
from vllm_image_core.requests.lora import read_lora

_NEGATIVE_LINE: Final = re.compile(r"[^\S\n]{0,80}Negative [Pp]rompt:")
_TEMPLATES: Final = ("Template:", "Negative Template:")
_MAX_CHARACTERS: Final = 1_048_576
_MAX_SETTINGS: Final = 200
_MAX_LINE_CHARACTERS: Final = 65_536
_MAX_LINES: Final = 4096
_MAX_CANDIDATES: Final = 64

_TAKEN: Final = frozenset(
    ("Steps", "CFG scale", "CFG Scale", "Distilled CFG Scale", "Seed", "Size", "Model", "Base Model")
)
_SETTING: Final = re.compile(
    r"""[^\S\n]{0,8}(\w[\w \-/]{0,59}):[^\S\n]{0,8}"""
    r"""("(?:\\.|[^\\"]){0,10000}"(?=[^\S\n]{0,8}(?:[,\n]|\Z))|[^,\n]*)"""
    r"""(?:,[^\S\n]{0,8}\n|,|\n|\Z)""",
    re.DOTALL,
)
_PLAIN: Final = frozenset(each.name for each in PLAIN_FIELDS)
"""Settings that only requests of our own have."""

_LORA_TAG: Final = re.compile(
    r"[^\S\n]{0,8}<(?:lora|lyco):([^<>:\n]{1,200})(?::(?:\w{2,5}=)?([+-]?[\d.]{1,20})[^<>\n]{0,60})?>",
    re.IGNORECASE | re.ASCII,
)
"""A LoRA in a prompt, with its first weight, which applies to the text encoder and to the model."""

_SEPARATOR: Final = re.compile(r"[,\n]")
_SIZE: Final = re.compile(r"(\d{1,9}) ?[xX\u00d7] ?(\d{1,9})", re.ASCII)
_LINE_BREAKS: Final = re.compile("\r\n?|\u2028|\u2029")
_WHOLE: Final = re.compile(r"-?\d{1,20}|None", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,6}(\.\d{1,20})?|None", re.ASCII)
_KINDS: Final[Mapping[str, re.Pattern[str]]] = {
    "Steps": _WHOLE,
    "Seed": _WHOLE,
    "Size": re.compile(r"\d{1,9} ?[xX\u00d7] ?\d{1,9}|None(xNone)?", re.ASCII),
    "CFG scale": _NUMBER,
    "CFG Scale": _NUMBER,
    "Distilled CFG Scale": _NUMBER,
    "Denoising strength": _NUMBER,
    "Clip skip": _WHOLE,
    "Model hash": re.compile(r"[0-9a-fA-F]{6,64}", re.ASCII),
}
"""An image's settings and the form of their values, needed since prompts have colons and numbers, too."""

_USUAL: Final = frozenset(
    (*_KINDS, "Sampler", "Schedule type", "Scheduler", "Model", "VAE", "VAE hash", "Version", "Base Model")
)


def parameters_text(
    *,
    prompt: str,
    negative_prompt: str | None = None,
    steps: int,
    guidance_scale: float,
    seed: int,
    width: int,
    height: int,
    model: str,
    lora: str | None = None,
    **more: object,
) -> str:
    """Write the settings of one image in the form that other tools read.

    The guidance scale is in the caller's terms. An empty prompt and a blank negative prompt are omitted. A
    LoRA is named by a tag behind the prompt, as these tools do it, and completely among the settings.
    """
    settings: dict[str, object] = {
        "Steps": steps,
        "CFG scale": guidance_scale,
        "Seed": seed,
        "Size": f"{width}x{height}",
        "Model": model,
        **({} if lora is None else {"lora": lora}),
        **more,
    }
    first = " ".join(filter(None, (prompt, lora and read_lora(lora).tag)))
    lines = [first] if first else []
    if negative_prompt and negative_prompt.strip():
        lines.append(f"Negative prompt: {negative_prompt}")
    lines.append(", ".join(f"{name}: {_quote(value)}" for name, value in settings.items()))
    return "\n".join(lines)


def facts_of_parameters(text: str) -> Facts:
    """Parse text in this form: the prompts line by line, then the settings by name.

    The settings begin at the last line that has any, and continue over further lines if a value has line
    breaks. If a setting is named twice, the first one counts, which the tool itself wrote: what others
    append, such as Civitai's resources, comes after it. JSON, which some tools write under the same keyword,
    gives no facts.
    """
    text = _LINE_BREAKS.sub("\n", text[:_MAX_CHARACTERS]).strip()
    found = _find_settings(text)
    if found is None and is_json(text):
        return Facts(tool="automatic1111")
    settings: Mapping[str, str] = found.settings if found else {}
    prompt, negative = _prompts(text[: found.start if found else None].split("\n"))
    size = _SIZE.fullmatch(settings.get("Size", ""))
    loras = [f"{tag[1]}:{tag[2] or 1}" for tag in _LORA_TAG.finditer(prompt)]
    plain = {name: settings[name] for name in _PLAIN if name in settings}
    if loras:
        prompt = _LORA_TAG.sub("", prompt).strip()
        plain.setdefault("lora", loras[0])
    return Facts(
        tool=_tool(settings),
        prompt=prompt or None,
        negative_prompt=negative or None,
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        num_inference_steps=settings.get("Steps"),
        guidance_scale=_guidance(settings),
        seed=settings.get("Seed"),
        model=settings.get("Model", settings.get("Base Model")),
        plain=plain,
        settings={name: value for name, value in settings.items() if name not in _TAKEN | _PLAIN},
        notes=_other_loras(loras[1:]),
    )


def _other_loras(others: list[str]) -> tuple[str, ...]:
    if not others:
        return ()
    return (f"Only the first LoRA was kept, because a request has only one; also used: {', '.join(others)}.",)


def has_settings(text: str) -> bool:
    """Whether text has a line of settings, which shows that a tool wrote it, not a person."""
    return _find_settings(_LINE_BREAKS.sub("\n", text[:_MAX_CHARACTERS]).strip()) is not None


def unread_lines(text: str) -> str:
    """Return the text below the settings, unless it is a template; empty if there is none."""
    text = _LINE_BREAKS.sub("\n", text[:_MAX_CHARACTERS]).strip()
    found = _find_settings(text)
    below = "" if found is None else text[found.end :].strip()
    return "" if below.startswith(_TEMPLATES) else below


@dataclass(frozen=True, slots=True)
class _Found:
    """Settings, and their start and end in the text."""

    start: int
    end: int
    settings: Mapping[str, str]
    sound: bool = True
    """Whether all quotation marks are paired; if not, this may be the end of a value that began above."""


def _find_settings(text: str) -> _Found | None:
    """Find the settings that begin at the last line that has any.

    Preferred are those with nothing after them except the templates that an extension writes there;
    otherwise those that are beyond doubt. Nothing before a negative prompt is a setting.
    """
    starts = _starts(text)
    after_negative = next((at for at in starts if _NEGATIVE_LINE.match(text, at)), -1)
    candidates = [at for at in starts if _begins(text, at)][:_MAX_CANDIDATES]
    doubtful: list[_Found] = []
    for start in candidates:
        found = _read(text, start)
        if not _is_settings(found.settings, least=2):
            continue
        below = text[found.end :].strip()
        if found.sound and (not below or below.startswith(_TEMPLATES)):
            return _extend(text, found, candidates)
        if start > after_negative:
            doubtful.append(found)
    sure = (found for found in doubtful if _is_settings(found.settings, least=3))
    return next(sure, None)


def _begins(text: str, at: int) -> re.Match[str] | None:
    """Match the first setting of a line; None if it does not begin with one, or is a negative prompt."""
    return None if _NEGATIVE_LINE.match(text, at) else _SETTING.match(text, at)


def _starts(text: str) -> list[int]:
    """Return the starts of the last lines, the last line first."""
    starts: list[int] = []
    end = len(text)
    while end > 0 and len(starts) < _MAX_LINES:
        end = text.rfind("\n", 0, end)
        starts.append(end + 1)
    return starts


def _extend(text: str, found: _Found, candidates: list[int]) -> _Found:
    """Add the lines just above the settings, if they are settings, too, and none is repeated.

    A line that begins with the steps, as with most tools, is already the first one.
    """
    for start in candidates:
        first = _SETTING.match(text, found.start)
        if start >= found.start or (first and first[1] == "Steps"):
            continue
        above = _read(text, start, text.find("\n", start))
        names = above.settings.keys()
        joined = {**above.settings, **found.settings}
        adjacent = start + len(text[start : found.start].split("\n", 1)[0]) + 1 == found.start
        if not adjacent or not names <= _USUAL or names & found.settings.keys() or not above.settings:
            break
        found = _Found(start, found.end, joined)
    return found


def _is_settings(settings: Mapping[str, str], *, least: int) -> bool:
    """Whether enough of an image's settings have a value of the right form."""
    sound = sum(1 for name, kind in _KINDS.items() if kind.fullmatch(settings.get(name, "")))
    return sound >= least or (sound == least - 1 and len(_USUAL & settings.keys()) > least)


def _read(text: str, start: int, stop: int | None = None) -> _Found:
    """Read settings from an offset to the end of the last line that consists only of settings."""
    text = text[: min(len(text) if stop is None or stop < 0 else stop, start + _MAX_LINE_CHARACTERS)]
    settings: dict[str, str] = {}
    position, end, sound = start, start, True
    for _ in range(_MAX_SETTINGS):
        is_line = position in (0, start) or text[position - 1] == "\n"
        found = _begins(text, position) if is_line else _SETTING.match(text, position)
        if (
            is_line
            and position > start
            and (found is None or found[1] in settings or found[1].endswith("Template"))
        ):
            break
        if found is None:
            other = _SEPARATOR.search(text, position)
            position = other.end() if other else len(text)
        else:
            value = found[2].strip()
            sound = sound and (value.startswith('"') or value.count('"') % 2 == 0)
            settings.setdefault(found[1], _unquote(value))
            position = found.end()
        if position >= len(text) or text[position - 1] == "\n":
            end = position
        if position >= len(text):
            break
    else:
        end = len(text)
    return _Found(start, end, settings, sound)


def _prompts(lines: list[str]) -> tuple[str, str]:
    """Split the lines into the prompt and the negative prompt."""
    start = next((at for at, line in enumerate(lines) if _NEGATIVE_LINE.match(line)), len(lines))
    negative = "\n".join(lines[start:])
    return "\n".join(lines[:start]).strip(), _NEGATIVE_LINE.sub("", negative, count=1).strip()


def _unquote(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        text = json.loads(value, strict=False)
    except ValueError:
        return value
    return text if isinstance(text, str) else value


def _guidance(settings: Mapping[str, str]) -> str | None:
    names = ("Distilled CFG Scale", "CFG scale", "CFG Scale")
    return next((settings[name] for name in names if name in settings), None)


def _tool(settings: Mapping[str, str]) -> Tool:
    if settings.get("App") == "SD.Next":
        return "sd.next"
    if settings.get("Version", "").startswith("Fooocus"):
        return "fooocus"
    if settings.get("Version", "").startswith("ComfyUI"):
        return "comfyui"
    return "forge" if re.match(r"(f\d|neo|forge)", settings.get("Version", "")) else "automatic1111"


def _quote(value: object) -> str:
    """Quote a value as a JSON string if a comma, colon or line break in it would end it early."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text
