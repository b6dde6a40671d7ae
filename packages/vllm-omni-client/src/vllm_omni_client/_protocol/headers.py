"""Check the headers that a caller adds, and keep their values out of reprs and messages."""

import re
from collections.abc import Mapping
from typing import Final, cast

from pydantic import SecretStr

from vllm_omni_client._protocol.secret import as_secret
from vllm_omni_client._text import printable
from vllm_omni_client.errors import InvalidParameter

Headers = Mapping[str, SecretStr]
"""Values by the lower-case name of their header."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE: Final = re.compile(r"[\x20-\x7e\t]{0,8000}")
_OWN: Final = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "expect"),
        *("keep-alive", "proxy-connection", "trailer", "transfer-encoding", "upgrade"),
    }
)
_SHOWN: Final = 60
# A shorter value, such as "1" or "on", is not a secret, and may be a word of any message.
_LONG_ENOUGH_TO_HIDE: Final = 4


def as_secrets(headers: Mapping[str, str | SecretStr] | None) -> Headers | None:
    """Wrap the values of headers so that no repr or traceback shows them; nothing is checked yet."""
    if not isinstance(headers, Mapping):
        return headers
    given = cast("Mapping[str, object]", headers)
    return cast("Headers", {name: as_secret(value) for name, value in given.items()})


def check_headers(headers: object, *, parameter: str = "headers") -> Headers:
    """Return headers by their lower-case names.

    Args:
        headers: A mapping whose values are wrapped as secrets; None for none.
        parameter: The argument that they were given as.

    Raises:
        InvalidParameter: They are not a mapping of strings, cannot be sent, or the client sets them itself.
            The message never shows a value.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise InvalidParameter(f"{parameter} must be a mapping of names to values", parameter=parameter)
    checked: dict[str, SecretStr] = {}
    for name, value in cast("Mapping[object, object]", headers).items():
        checked[_check_name(name, parameter)] = _check_value(name, value, parameter)
    return checked


def _check_name(name: object, parameter: str) -> str:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        shown = printable(repr(name), limit=_SHOWN)
        raise InvalidParameter(f"{parameter}: {shown} is not the name of a header", parameter=parameter)
    if name.lower() in _OWN:
        raise InvalidParameter(f"{parameter}: {name} is set by the client itself", parameter=parameter)
    return name.lower()


def _check_value(name: object, value: object, parameter: str) -> SecretStr:
    if not (isinstance(value, SecretStr) and _VALUE.fullmatch(value.get_secret_value())):
        raise InvalidParameter(
            f"{parameter}: the value of {name} must be a string of printable ASCII", parameter=parameter
        )
    return SecretStr(value.get_secret_value().strip())


def secret_parts(value: SecretStr) -> tuple[str, ...]:
    """Return what to hide of a header's value: all of it, and the part after a scheme such as "Bearer"."""
    text = value.get_secret_value()
    return tuple(part for part in (text, text.partition(" ")[2]) if len(part) >= _LONG_ENOUGH_TO_HIDE)
