"""Write JSON on one line, with every character escaped that could control a terminal."""

import json
import unicodedata


def json_line(value: object) -> str:
    """Return JSON on one line, with control, format and bidirectional characters escaped."""
    return "".join(_visible(character) for character in json.dumps(value, ensure_ascii=False))


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # a space of some width
        return character
    return json.dumps(character)[1:-1]
