"""Compute what ComfyUI's own string nodes output, so that a prompt is recalled as the model read it.

Source: ComfyUI's `comfy_extras/nodes_string.py`. Nothing else is run: the pattern of a `Regex...` node is not
evaluated, so its output stays unknown.
"""

from collections.abc import Mapping
from typing import Final

INPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "StringReplace": ("string", "find", "replace"),
    "StringTrim": ("string", "mode"),
    "StringSubstring": ("string", "start", "end"),
    "CaseConverter": ("string", "mode"),
}
"""The nodes that can be computed, and the inputs they read."""

UNKNOWN_KINDS: Final = ("Regex", "StringFormat", "StringLength", "StringContains", "StringCompare")
"""Prefixes of node classes whose output cannot be read from the graph."""

_MAX_CHARACTERS: Final = 65_536
_MAX_PRODUCT: Final = 10_000_000
"""The most characters that a replacement may produce before it is cut."""


def output(kind: str, inputs: Mapping[str, object]) -> str | None:
    """Compute the output of a node of INPUTS; None if an input is missing or has the wrong type."""
    text, mode = inputs.get("string"), str(inputs.get("mode", "")).casefold()
    if not isinstance(text, str):
        return None
    match kind:
        case "StringReplace":
            result = _replace(text, inputs.get("find"), inputs.get("replace"))
        case "StringTrim":
            result = {"left": text.lstrip, "right": text.rstrip}.get(mode, text.strip)()
        case "CaseConverter":
            cases = {"uppercase": text.upper, "lowercase": text.lower}
            result = (cases | {"capitalize": text.capitalize, "title case": text.title}).get(mode, str)()
        case _:
            start, end = inputs.get("start"), inputs.get("end")
            result = text[start:end] if isinstance(start, int) and isinstance(end, int) else None
    return None if result is None else result[:_MAX_CHARACTERS]


def _replace(text: str, old: object, new: object) -> str | None:
    if not (isinstance(old, str) and isinstance(new, str)) or len(text) * len(new) > _MAX_PRODUCT:
        return None
    return text.replace(old, new)
