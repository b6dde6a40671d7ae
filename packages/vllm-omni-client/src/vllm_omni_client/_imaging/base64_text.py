"""Decode base64 strictly, with pybase64 if it is installed, otherwise with the standard library."""

import binascii
from collections.abc import Callable
from importlib import import_module
from typing import cast

_Decode = Callable[[str | bytes | memoryview, None, bool], bytes]


def _from_pybase64() -> _Decode | None:
    try:
        module = import_module("pybase64")
    except ImportError:
        return None
    return cast("_Decode", module.b64decode)


_fast = _from_pybase64()


def decode(text: str | bytes | memoryview) -> bytes:
    """Decode base64 text.

    Raises:
        ValueError: It contains anything that is not base64, such as white space, or its end is missing.
    """
    if text[-3:] in {"===", b"==="}:
        raise ValueError("not base64: too much padding")
    try:
        if _fast is not None:
            return _fast(text, None, True)  # noqa: FBT003  # pybase64 accepts it only by position, and is faster with it
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # binascii.Error is one
        raise ValueError(f"not base64: {error}") from error
