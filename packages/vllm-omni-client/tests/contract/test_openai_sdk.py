"""The openai SDK as it is, against the server: what people use today."""

import base64
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

if TYPE_CHECKING:
    import openai
    from openai import OpenAI
    from openai.types import ImagesResponse
else:
    openai = pytest.importorskip("openai", reason="the openai SDK is in the dependency group `contract`")

READ = {"num_inference_steps": 2, "seed": 7}


@pytest.fixture
def sdk(server: httpx.Client, server_key: str | None) -> Iterator["OpenAI"]:
    url = f"{server.base_url}".rstrip("/")
    with openai.OpenAI(base_url=f"{url}/v1", api_key=server_key or "none", max_retries=0) as client:
        yield client


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def picture(reply: "ImagesResponse") -> bytes:
    assert reply.data is not None
    [only] = reply.data
    assert (only.url, only.revised_prompt) == (None, None)
    assert only.b64_json is not None
    return base64.b64decode(only.b64_json, validate=True)


def size_of(reply: "ImagesResponse") -> tuple[int, int]:
    return Image.open(io.BytesIO(picture(reply))).size


def test_models_are_listed(sdk: "OpenAI") -> None:
    [first, *_] = sdk.models.list().data
    assert (first.object, first.owned_by) == ("model", "vllm")


def test_an_image_is_generated(sdk: "OpenAI") -> None:
    one, two = (sdk.images.generate(prompt="a red fox", size="64x64", extra_body=READ) for _ in range(2))
    assert size_of(one) == (64, 64)
    assert picture(one) == picture(two)
    assert (one.output_format, one.size) == ("png", "64x64")


def test_an_image_is_edited(sdk: "OpenAI") -> None:
    for image in (("a.png", png()), [("a.png", png())]):
        assert size_of(sdk.images.edit(image=image, prompt="a red fox", extra_body=READ)) == (64, 64)


def test_a_refusal_is_a_bad_request(sdk: "OpenAI") -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.images.generate(prompt="a", n=11)
    assert (caught.value.status_code, caught.value.param) == (400, "body.n")


def test_a_missing_image_is_unprocessable(sdk: "OpenAI") -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="Field 'image' or 'url' is required"):
        sdk.images.edit(image=[], prompt="a")


def test_variations_are_not_found(sdk: "OpenAI") -> None:
    with pytest.deprecated_call(), pytest.raises(openai.NotFoundError):
        sdk.images.create_variation(image=("a.png", png()))  # pyright: ignore[reportDeprecated] - the server never had it
