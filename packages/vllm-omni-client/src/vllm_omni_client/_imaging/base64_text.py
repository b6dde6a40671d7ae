"""Base64, strictly decoded: by pybase64 where it is installed, by the standard library otherwise."""

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
    """Return what the base64 stands for.

    Raises:
        ValueError: Something in it is not base64, white space included; or its end is missing.
    """
    if text[-3:] in {"===", b"==="}:
        raise ValueError("not base64: too much padding")
    try:
        if _fast is not None:
            return _fast(text, None, True)  # noqa: FBT003  # it takes it by position alone, and is quicker so
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # binascii.Error is one
        raise ValueError(f"not base64: {error}") from error
