"""Secret: the API key taken out of foreign text, should the server repeat it."""

import json
import re
from typing import Final

HIDDEN: Final = "[api key]"

# A shorter key may well be part of a word that has nothing to do with it.
_LONG: Final = 8


def hidden(text: str, secret: str) -> str:
    """Return the text with the secret hidden, also where JSON has escaped it; a short one as a whole word."""
    forms = sorted({secret, json.dumps(secret)[1:-1]}, key=len, reverse=True)
    either = "|".join(map(re.escape, forms))
    word = either if len(secret) >= _LONG else rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])"
    return re.sub(word, HIDDEN, text)
