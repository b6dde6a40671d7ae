"""The image is extracted from a body as it arrives, however the body is cut into pieces."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_omni_client._protocol.picture_stream import PictureStream

PIXELS = bytes(range(256)) * 3
TEXT = base64.b64encode(PIXELS).decode()


def streamed(body: bytes, step: int = 0) -> tuple[bytes, bytes, int]:
    written: list[bytes] = []
    stream = PictureStream(lambda part: written.append(bytes(part)))
    for start in range(0, len(body), step or len(body) or 1):
        stream.feed(body[start : start + (step or len(body))])
    return b"".join(written), stream.finish(), stream.surplus


@given(step=st.integers(1, 1200), length=st.integers(0, 700))
def test_an_image_comes_out_complete_in_pieces_of_any_length(step: int, length: int) -> None:
    text = base64.b64encode(PIXELS[:length]).decode()
    body = json.dumps({"created": 1, "data": [{"b64_json": text, "url": None}], "metrics": {"a": 1}}).encode()
    written, rest, surplus = streamed(body, step)
    assert written == PIXELS[:length]
    assert json.loads(rest) == {"created": 1, "data": [{"b64_json": "", "url": None}], "metrics": {"a": 1}}
    assert surplus == 0


@pytest.mark.parametrize("step", [0, 1, 3, 64])
@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("end", ["", "\\n", "\\r\\n"])
@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_every_notation_of_it_is_read(step: int, head: str, end: str, space: str) -> None:
    body = f'{space}{{"data":[{{"b64_json"{space}:{space}"{head}{TEXT}{end}"}}]}}'.encode()
    assert streamed(body, step)[0] == PIXELS


@pytest.mark.parametrize("step", [0, 1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize("escape", ["\\/", "\\u002f", "\\u002F"])
@pytest.mark.parametrize("end", ["", "\\n", "\\r\\n"])
def test_escaped_characters_are_read(step: int, escape: str, end: str) -> None:
    text = TEXT.replace("/", escape).replace("+", "\\u002B")
    assert text.count("\\") > 10
    body = f'{{"data":[{{"b64_json":"{text}{end}"}}],"x":"\\n"}}'.encode()
    assert streamed(body, step)[0] == PIXELS


@pytest.mark.parametrize("step", [0, 1, 100])
@pytest.mark.parametrize("junk", ["\\", "\\u00", "\\x", "\\u1234", "\\u0022"])
def test_other_escapes_are_invalid(step: int, junk: str) -> None:
    body = f'{{"data":[{{"b64_json":"{TEXT}{junk}"}}]}}'.encode()
    with pytest.raises(ValueError, match=r"base64|ends inside"):
        streamed(body, step)


@pytest.mark.parametrize("step", [0, 1, 100])
def test_the_image_passes_through_unchanged(step: int) -> None:
    assert streamed(b"\x89PNG" + PIXELS, step) == (b"\x89PNG" + PIXELS, b"", 0)


@pytest.mark.parametrize("step", [0, 1, 100])
def test_further_images_are_counted_and_not_kept(step: int) -> None:
    body = json.dumps({"data": [{"b64_json": TEXT}, {"b64_json": "####"}, {"b64_json": TEXT}]}).encode()
    assert streamed(body, step)[::2] == (PIXELS, 2)


def test_a_key_inside_a_string_is_not_a_key() -> None:
    words = '"b64_json":"QUJD"'
    body = json.dumps({"prompt": words, "data": [{"b64_json": TEXT}]}).encode()
    written, rest, surplus = streamed(body, 5)
    assert (written, surplus) == (PIXELS, 0)
    assert json.loads(rest)["prompt"] == words


@pytest.mark.parametrize(
    "text", ["a!Gk=", "####", "QUJDR", "QUI=QUJD", "QU\\u0142D", "Q U J D", "QUJD====", "=QUJ"]
)
@pytest.mark.parametrize("step", [0, 1, 4, 7])
def test_junk_in_the_base64_is_refused(text: str, step: int) -> None:
    with pytest.raises(ValueError, match="not base64"):
        streamed(f'{{"data":[{{"b64_json":"{text}"}}]}}'.encode(), step)


@pytest.mark.parametrize("step", [0, 1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize("length", [1_000, 1_001, 1_002])
def test_url_safe_base64_without_padding_is_read(step: int, length: int) -> None:
    text = base64.urlsafe_b64encode(PIXELS[:length]).decode().rstrip("=")
    assert "_" in text
    assert streamed(f'{{"data":[{{"b64_json":"{text}"}}]}}'.encode(), step)[0] == PIXELS[:length]


def test_a_body_that_ends_within_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="ends inside the image"):
        streamed(f'{{"data":[{{"b64_json":"{TEXT}'.encode())


@pytest.mark.parametrize("step", [0, 65_536])
def test_endless_json_without_an_image_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match="longer than 1 MiB"):
        streamed(b"[" + b"1," * 1024 * 1024, step)


@pytest.mark.parametrize("step", [0, 1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize("line_end", ["\\n", "\\r\\n", "\\u000a", "\\u000D\\u000A"])
@pytest.mark.parametrize("length", [4, 60, 76])
def test_base64_with_line_breaks_is_read(step: int, line_end: str, length: int) -> None:
    lines = [TEXT[start : start + length] for start in range(0, len(TEXT), length)]
    body = f'{{"data":[{{"b64_json":"{line_end.join(lines)}{line_end}"}}]}}'.encode()
    assert streamed(body, step)[0] == PIXELS


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4])
def test_a_byte_order_mark_is_omitted(step: int) -> None:
    body = b"\xef\xbb\xbf" + f'{{"data":[{{"b64_json":"{TEXT}"}}]}}'.encode()
    assert streamed(body, step)[:2] == (PIXELS, b'{"data":[{"b64_json":""}]}')
