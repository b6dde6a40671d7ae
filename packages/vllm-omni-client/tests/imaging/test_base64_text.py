"""Base64 is decoded strictly, and the same with pybase64 as without it."""

import base64
import os

import pytest
from vllm_omni_client._imaging import base64_text
from vllm_omni_client._imaging.base64_text import decode

pytestmark = pytest.mark.usefixtures("decoder")


@pytest.mark.parametrize("length", [0, 1, 2, 3, 100, 65_536, 65_537])
def test_what_was_encoded_comes_back(length: int) -> None:
    data = os.urandom(length)
    text = base64.b64encode(data)
    assert decode(text) == data
    assert decode(text.decode()) == data
    assert decode(memoryview(text)) == data


JUNK = {
    "a letter that is none": "a!Gk=",
    "nothing but junk": "####",
    "no padding": "aGk",
    "a space": "aG k=",
    "a line end": "aG\nk=",
    "a line end after it": "aGk=\n",
    "two in one": "aGk=aGk=",
    "too much padding": "aGk=====",
    "padding alone": "====",
    "padding at the start": "=aGk",
    "one letter": "a",
    "the alphabet of addresses": "_-8=",
    "beyond ASCII": "aGké",
    "full width": "ａＧｋ＝",  # noqa: RUF001  # which is the point
}


@pytest.mark.parametrize("text", JUNK.values(), ids=JUNK)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not base64"):
        decode(text)
    with pytest.raises(ValueError, match="not base64"):
        decode(memoryview(text.encode()))


def test_both_ways_are_tested_where_both_are_there(decoder: str) -> None:
    assert (base64_text._fast is None) == (decoder == "standard library")
