"""A data: URL is decoded strictly and within a limit."""

import base64

import pytest
from vllm_image_core.requests.data_url import MOST_DATA_BYTES, decode_data_url, is_data_url

BYTES = bytes(range(256))
TEXT = base64.b64encode(BYTES).decode()


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{TEXT}",
        f"DATA:IMAGE/PNG;BASE64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"data:image/svg+xml;charset=utf-8;base64,{TEXT}",
        f"data:application/octet-stream;base64,{TEXT[:100]}\n {TEXT[100:]}",
    ],
)
def test_an_image_in_base64_is_decoded(url: str) -> None:
    assert is_data_url(url)
    assert decode_data_url(url) == BYTES


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:,x", "not a data: URL for an image in base64"),
        (f"data:text/plain;base64,{TEXT}", "not a data: URL for an image in base64"),
        ("data:image/png;base64,AAA", "its base64 is not valid"),
        ("data:image/png;base64,A-_A", "its base64 is not valid"),
        (f"data:image/png;base64,{'A' * (MOST_DATA_BYTES // 3 * 4 + 4)}", "more than 3 MB"),
        (f"data:image/png;base64,{'A' * 10_000_000}", "more than 3 MB"),
    ],
)
def test_anything_else_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_data_url(url)
