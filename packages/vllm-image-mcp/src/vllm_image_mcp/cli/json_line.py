"""Write JSON on one line, with every character escaped that could control a terminal."""

import json
import unicodedata


def json_line(value: object) -> str:
    """Return JSON on one line, with control, format and bidirectional characters escaped."""
    return "".join(
        # Zs are spaces of some width.
        each if each.isprintable() or unicodedata.category(each) == "Zs" else json.dumps(each)[1:-1]
        for each in json.dumps(value, ensure_ascii=False)
    )
