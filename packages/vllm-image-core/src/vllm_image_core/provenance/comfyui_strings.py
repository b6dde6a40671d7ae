"""What ComfyUI's own nodes for strings make of their inputs, so that a prompt is told as the model read it.

Source: ComfyUI's `comfy_extras/nodes_string.py`. Nothing else is run: the pattern of a `Regex...` node is
not, and what comes out of such a node is not known.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["INPUTS", "UNKNOWN_KINDS", "output"]

INPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "StringReplace": ("string", "find", "replace"),
    "StringTrim": ("string", "mode"),
    "StringSubstring": ("string", "start", "end"),
    "CaseConverter": ("string", "mode"),
}
"""The nodes, and what they read."""

UNKNOWN_KINDS: Final = ("Regex", "StringFormat", "StringLength", "StringContains", "StringCompare")
"""How the classes of nodes begin whose output is not told by the graph."""

_MAX_CHARACTERS: Final = 65_536
_MAX_PRODUCT: Final = 10_000_000
"""Characters that a replacement may make at the most, before they are cut."""


def output(kind: str, inputs: Mapping[str, object]) -> str | None:
    """What a node of INPUTS makes; None if an input is missing or of another type."""
    text, mode = inputs.get("string"), str(inputs.get("mode", "")).casefold()
    if not isinstance(text, str):
        return None
    match kind:
        case "StringReplace":
            made = _replace(text, inputs.get("find"), inputs.get("replace"))
        case "StringTrim":
            made = {"left": text.lstrip, "right": text.rstrip}.get(mode, text.strip)()
        case "CaseConverter":
            cases = {"uppercase": text.upper, "lowercase": text.lower}
            made = (cases | {"capitalize": text.capitalize, "title case": text.title}).get(mode, str)()
        case _:
            start, end = inputs.get("start"), inputs.get("end")
            made = text[start:end] if isinstance(start, int) and isinstance(end, int) else None
    return None if made is None else made[:_MAX_CHARACTERS]


def _replace(text: str, old: object, new: object) -> str | None:
    if not (isinstance(old, str) and isinstance(new, str)) or len(text) * len(new) > _MAX_PRODUCT:
        return None
    return text.replace(old, new)
