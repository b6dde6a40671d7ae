"""Remove secrets (the API key, values of headers) from text in which the server may repeat them."""

import json
import re
from typing import Final, TypeVar

from pydantic import SecretStr

T = TypeVar("T")

HIDDEN_KEY: Final = "[api key]"
HIDDEN_HEADER: Final = "[header]"

# A shorter secret could be part of an unrelated word.
_LONG: Final = 8


def as_secret(value: str | T) -> SecretStr | T:
    """Wrap a secret so that no repr or traceback shows it; return a non-string unchanged."""
    return SecretStr(value) if isinstance(value, str) else value


def redact(text: str, secret: str, hidden: str = HIDDEN_KEY) -> str:
    """Return the text with the secret hidden, even if JSON-escaped; a short one only as a separate word."""
    forms = sorted({secret, json.dumps(secret)[1:-1]}, key=len, reverse=True)
    either = "|".join(map(re.escape, forms))
    word = either if len(secret) >= _LONG else rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])"
    return re.sub(word, lambda _: hidden, text)
