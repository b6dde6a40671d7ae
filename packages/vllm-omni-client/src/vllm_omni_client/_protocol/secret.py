"""Remove the API key from text that the server may repeat it in."""

import json
import re
from typing import Final

HIDDEN: Final = "[api key]"

# A shorter key could be part of an unrelated word.
_LONG: Final = 8


def redact(text: str, secret: str) -> str:
    """Return the text with the secret hidden, even if JSON-escaped; a short one only as a separate word."""
    forms = sorted({secret, json.dumps(secret)[1:-1]}, key=len, reverse=True)
    either = "|".join(map(re.escape, forms))
    word = either if len(secret) >= _LONG else rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])"
    return re.sub(word, HIDDEN, text)
