"""A line of JSON for ``--json``: nothing in it steers a terminal or turns the direction of the text."""

import json
import unicodedata

__all__ = ["json_line"]


def json_line(value: object) -> str:
    """JSON on one line, in which every control, format and bidirectional character is an escape."""
    return "".join(_visible(character) for character in json.dumps(value, ensure_ascii=False))


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # a space of some width
        return character
    return json.dumps(character)[1:-1]
