"""A line of JSON for ``--json``: nothing in it steers a terminal or turns the direction of the text."""

import json
import re
from typing import Final

__all__ = ["json_line"]

_UNSAFE: Final = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Control, format and bidirectional characters, line separators and lone surrogates, beyond those of ASCII."""


def json_line(value: object) -> str:
    """JSON on one line, in which every control and bidirectional character is an escape."""
    return _UNSAFE.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
