"""The bodies of the images API are parsed within limits, and each field is checked by name."""

import json
from collections.abc import Mapping, Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message
from vllm_image_core.errors import InvalidRequest
from vllm_image_mcp.openai_api.request_body import MOST_JSON_BYTES, ParsedBody, parse_edit, parse_generation

File = tuple[str, bytes]


def request(body: bytes, kind: str = "application/json") -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "app": None}, receive)


async def generation(**fields: object) -> ParsedBody:
    return await parse_generation(request(json.dumps({"prompt": "a fox", **fields}).encode()))


async def edit(fields: Mapping[str, str], files: Sequence[File]) -> ParsedBody:
    parts = [
        f'--B\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts += [
        f'--B\r\ncontent-disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return await parse_edit(request(b"".join(parts) + b"--B--\r\n", "multipart/form-data; boundary=B"))


async def test_numbers_may_be_text_and_auto_means_the_default_of_the_model() -> None:
    parsed = await generation(
        n="2", seed="7", guidance_scale="3.5", size="auto", quality="auto", background=""
    )
    body = parsed.body
    assert (body.n, body.seed, body.guidance_scale) == (2, 7, 3.5)
    assert (body.size, body.quality, body.background) == (None, None, None)


@pytest.mark.parametrize(("size", "sides"), [("1024x768", (1024, 768)), ("64X32", (64, 32)), (None, None)])
async def test_a_size_is_a_width_and_a_height(size: str | None, sides: tuple[int, int] | None) -> None:
    assert (await generation(size=size)).body.sides == sides


@pytest.mark.parametrize("size", ["1024", "1024x", "x1024", "1e3x1e3", "1024x1024x3", "-1x1", "999999x1"])
async def test_another_size_is_refused_by_name(size: str) -> None:
    body = (await generation(size=size)).body
    with pytest.raises(InvalidRequest) as raised:
        _ = body.sides
    assert raised.value.parameter == "size"


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": True}, "n"),
        ({"quality": "ultra"}, "quality"),
        ({"response_format": "file"}, "response_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"steps": 4}, "steps"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
    ],
)
async def test_a_field_that_cannot_be_used_is_named(fields: dict[str, object], parameter: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await generation(**fields)
    assert raised.value.parameter == parameter


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff", b'"' + b"x" * MOST_JSON_BYTES + b'"']
)
async def test_a_body_that_is_not_a_json_object_or_too_large_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await parse_generation(request(body))
    assert raised.value.parameter == "body"


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
async def test_the_images_of_an_edit_are_read_under_each_of_their_names(name: str) -> None:
    parsed = await edit({"prompt": "night", "n": "2"}, [(name, b"one"), (name, b"two"), ("mask", b"three")])
    assert parsed.uploads is not None
    assert (parsed.uploads.images, parsed.uploads.mask) == ([b"one", b"two"], b"three")
    assert parsed.body.n == 2
    assert "three" not in repr(parsed)


@pytest.mark.parametrize(
    ("fields", "files", "parameter"),
    [
        ({"prompt": "x"}, [], "image"),
        ({"prompt": "x"}, [("image", b"1")] * 5, "image"),
        ({"prompt": "x", "image": "https://example.com/a.png"}, [], "image"),
        ({"prompt": "x", "mask": "https://example.com/a.png"}, [("image", b"1")], "mask"),
        ({"prompt": "x"}, [("image", b"1"), ("other", b"2")], "other"),
    ],
)
async def test_an_edit_takes_one_to_four_uploaded_images_and_no_url(
    fields: dict[str, str], files: list[File], parameter: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await edit(fields, files)
    assert raised.value.parameter == parameter


async def test_an_edit_that_is_not_a_form_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="must be a form"):
        await parse_edit(request(b'{"prompt": "x", "image": "https://example.com/a.png"}'))
    with pytest.raises(InvalidRequest, match="form"):
        await parse_edit(request(b"junk", "multipart/form-data"))
