"""Base64 is decoded strictly."""

import base64
import os

import pytest
from vllm_omni_client._imaging.base64_text import decode


@pytest.mark.parametrize("length", [0, 1, 2, 3, 100, 65_536, 65_537])
def test_encoded_data_is_decoded_unchanged(length: int) -> None:
    data = os.urandom(length)
    text = base64.b64encode(data)
    assert decode(text) == data
    assert decode(text.decode()) == data
    assert decode(memoryview(text)) == data


@pytest.mark.parametrize("padding", ["", "="])
def test_the_url_safe_alphabet_is_read_with_or_without_padding(padding: str) -> None:
    data = b"\xfb\xef\xff" * 1_000 + b"hi"
    text = base64.urlsafe_b64encode(data).decode().rstrip("=") + padding
    assert "-" in text
    assert "_" in text
    assert decode(text) == data
    assert decode(memoryview(text.encode())) == data


@pytest.mark.parametrize(("text", "data"), [("aGk", b"hi"), ("aA", b"h")])
def test_padding_may_be_missing(text: str, data: bytes) -> None:
    assert decode(text) == data


JUNK = {
    "a letter that is none": "a!Gk=",
    "nothing but junk": "####",
    "a space": "aG k=",
    "a line end": "aG\nk=",
    "a line end after it": "aGk=\n",
    "two in one": "aGk=aGk=",
    "too much padding": "aGk=====",
    "padding alone": "====",
    "padding at the start": "=aGk",
    "one letter": "a",
    "beyond ASCII": "aGké",
    "full width": "ａＧｋ＝",  # noqa: RUF001  # which is the point
}


@pytest.mark.parametrize("text", JUNK.values(), ids=JUNK)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not base64"):
        decode(text)
    with pytest.raises(ValueError, match="not base64"):
        decode(memoryview(text.encode()))
