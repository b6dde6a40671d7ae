"""The real OpenAI SDK, and programs that speak its images API, get images of the loaded model."""

import base64
import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from http_process import DEADLINE_SECONDS, HttpServer, connected, content_of, write_users
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import openai
else:
    openai = pytest.importorskip("openai", reason="the openai SDK is in the dependency group `contract`")

TOKENS = {"anna": "anna-3d1f6a0c9b7e", "bert": "bert-51ce28d7f0a4"}
AS_ANNA = {"authorization": f"Bearer {TOKENS['anna']}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    folder = tmp_path_factory.mktemp("images")
    more = '[[user]]\nname = "cleo"\ntoken = "cleo-9e07b2c64d18"\nimages_per_hour = 1'
    started = HttpServer(
        "--users-file", str(write_users(folder.parent / "users.toml", TOKENS, more)), folder=folder
    )
    yield started
    errors = started.close()
    assert not any(token in errors for token in TOKENS.values())


def sdk(server: HttpServer, user: str = "anna") -> openai.OpenAI:
    return openai.OpenAI(
        api_key=TOKENS.get(user, "cleo-9e07b2c64d18"),
        base_url=f"http://127.0.0.1:{server.port}/v1",
        timeout=DEADLINE_SECONDS,
    )


def decoded(content: str | None) -> Image.Image:
    assert content is not None
    return Image.open(io.BytesIO(base64.b64decode(content)))


def png(size: tuple[int, int] = (64, 64), colour: str = "teal") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def generate(server: HttpServer, body: Mapping[str, object]) -> dict[str, Any]:
    answer, content = server.exchange("POST", "/v1/images/generations", body, **AS_ANNA)
    assert answer.status == 200, content
    return json.loads(content)


def refusal(server: HttpServer, body: object, path: str = "/v1/images/generations") -> tuple[int, Any]:
    answer, content = server.exchange("POST", path, body, **AS_ANNA)
    return answer.status, json.loads(content)["error"]


def form(fields: Mapping[str, str], files: list[tuple[str, bytes]]) -> tuple[bytes, str]:
    """Return a form as programs without the SDK send it, and its content type."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, data in files:
        head = f'content-disposition: form-data; name="{name}"; filename="a.png"\r\ncontent-type: image/png'
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def test_the_sdk_lists_the_loaded_model(server: HttpServer) -> None:
    client = sdk(server)
    [model] = client.models.list()
    assert client.models.retrieve(model.id).id == model.id
    assert model.owned_by == "vllm-omni"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("sora-2")
    assert raised.value.code == "model_not_found"


def test_the_sdk_generates_images_with_receipts(server: HttpServer) -> None:
    raw = sdk(server).images.with_raw_response.generate(
        model="gpt-image-1", prompt="a fox", n=2, size="512x512", quality="low", output_format="webp"
    )
    reply = raw.parse()
    assert reply.data is not None
    assert [decoded(one.b64_json).size for one in reply.data] == [(512, 512)] * 2
    assert {decoded(one.b64_json).format for one in reply.data} == {"WEBP"}
    receipts = json.loads(raw.headers["x-vllm-image-receipt"])
    assert len({receipt["seed"] for receipt in receipts}) == 2
    assert {receipt["size"] for receipt in receipts} == {"512x512"}
    extra = reply.data[0].model_extra or {}
    assert extra["receipt"]["width"]["confirmed"] == 512
    assert extra["seed"] == receipts[0]["seed"]
    assert raw.headers["x-vllm-image-batch"] == (reply.model_extra or {})["batch_id"]


async def test_an_image_from_the_sdk_is_a_batch_of_its_user(server: HttpServer) -> None:
    reply = sdk(server).images.generate(prompt="a durable fox", size="256x256", extra_body={"seed": 77})
    batch = (reply.model_extra or {})["batch_id"]
    async with connected(server.url, TOKENS["anna"]) as anna:
        found = content_of(await anna.call_tool("get_batch", {"batch_id": batch}))
        assert found["images_generated"] == 1
    async with connected(server.url, TOKENS["bert"]) as bert:
        assert (await bert.call_tool("get_batch", {"batch_id": batch})).is_error
    again = sdk(server).images.generate(prompt="a durable fox", size="256x256", extra_body={"seed": 77})
    assert again.data is not None
    assert (again.data[0].model_extra or {})["reused"] is True


def test_the_sdk_edits_an_image_where_its_mask_is_transparent(server: HttpServer) -> None:
    mask = Image.new("RGBA", (64, 64), "black")
    ImageDraw.Draw(mask).rectangle((0, 0, 31, 63), fill=(0, 0, 0, 0))
    file = io.BytesIO()
    mask.save(file, "PNG")
    reply = sdk(server).images.edit(
        image=("a.png", png()), mask=("m.png", file.getvalue()), prompt="night", size="auto", n=1
    )
    assert reply.data is not None
    assert decoded(reply.data[0].b64_json).size == (64, 64)
    assert "mask" in json.dumps((reply.data[0].model_extra or {})["receipt"])


def test_the_sdk_edits_several_images(server: HttpServer) -> None:
    reply = sdk(server).images.edit(
        image=[("a.png", png()), ("b.png", png(colour="red"))], prompt="combine", model="gpt-image-1"
    )
    assert reply.data is not None
    assert decoded(reply.data[0].b64_json).size == (64, 64)


def test_a_url_needs_no_token_but_everything_else_does(server: HttpServer) -> None:
    reply = sdk(server).images.generate(prompt="a fox", size="256x256", response_format="url")
    assert reply.data is not None
    assert reply.data[0].b64_json is None
    url = urlsplit(reply.data[0].url or "")
    answer, content = server.exchange("GET", url.path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(content)).size == (256, 256)
    *head, token, name = url.path.split("/")
    for other in (token[:-2] + "AA", "x", f"{token.partition('.')[0]}..", ""):
        assert server.ask("GET", "/".join([*head, other, name]))[0] == 404
    assert server.ask("POST", url.path)[0] == 405
    assert server.ask("GET", url.path, host="evil.example")[0] == 421


def test_without_a_format_both_are_returned_for_programs_that_read_either(server: HttpServer) -> None:
    [image] = generate(server, {"prompt": "a fox", "size": "256x256"})["data"]
    assert image["b64_json"]
    assert image["url"].startswith(f"http://127.0.0.1:{server.port}/v1/images/files/")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            {"model": "x", "prompt": "a fox", "n": 1, "size": "512x512", "response_format": "b64_json"},
            id="Open WebUI",
        ),
        pytest.param(
            {"model": "gpt-image-1", "prompt": "a fox", "n": 2, "size": "auto"},
            id="Open WebUI with a model of OpenAI",
        ),
        pytest.param(
            {
                "prompt": "a fox",
                "model": "dall-e-3",
                "size": "1024x1792",
                "n": 1,
                "quality": "hd",
                "style": "vivid",
                "response_format": "b64_json",
            },
            id="SillyTavern with DALL-E 3",
        ),
        pytest.param(
            {
                "prompt": "a fox",
                "model": "gpt-image-1",
                "size": "1024x1536",
                "n": 1,
                "quality": "auto",
                "moderation": "low",
            },
            id="SillyTavern with GPT Image",
        ),
        pytest.param(
            {
                "model": "dall-e-3",
                "quality": "standard",
                "style": "natural",
                "size": "1792x1024",
                "prompt": "a fox",
                "n": 1,
            },
            id="LibreChat with DALL-E 3",
        ),
        pytest.param(
            {
                "model": "gpt-image-1",
                "prompt": "a fox",
                "n": 1,
                "background": "auto",
                "output_format": "webp",
                "output_compression": 100,
                "quality": "auto",
                "size": "auto",
            },
            id="LibreChat with GPT Image",
        ),
    ],
)
def test_programs_get_images_for_the_sizes_that_they_send(server: HttpServer, body: dict[str, Any]) -> None:
    if body["model"] == "x":
        body = {**body, "model": sdk(server).models.list().data[0].id}
    reply = generate(server, body)
    assert len(reply["data"]) == body["n"]
    size = decoded(reply["data"][0]["b64_json"]).size
    wanted = re.fullmatch(r"(\d+)x(\d+)", body["size"])
    if wanted:
        ratio = int(wanted[1]) / int(wanted[2])
        assert size[0] / size[1] == pytest.approx(ratio, rel=0.1)
    if body.get("response_format") is None:
        assert reply["data"][0]["url"]


@pytest.mark.parametrize("name", ["image", "image[]"])
def test_librechat_and_open_webui_upload_the_images_of_an_edit(server: HttpServer, name: str) -> None:
    fields = {"model": "gpt-image-1", "prompt": "night", "quality": "auto", "size": "auto", "n": "1"}
    body, kind = form(fields, [(name, png())])
    answer, content = server.exchange("POST", "/v1/images/edits", body, content_type=kind, **AS_ANNA)
    assert answer.status == 200, content
    assert decoded(json.loads(content)["data"][0]["b64_json"]).size == (64, 64)


@pytest.mark.parametrize(
    ("more", "status", "parameter", "text"),
    [
        ({"prompt": None}, 400, "prompt", "prompt: must be a valid string"),
        ({"prompt": ""}, 400, "prompt", "prompt"),
        ({"n": 0}, 400, "n", "n: must be greater than or equal to 1"),
        ({"n": 11}, 400, "n", "n: must be less than or equal to 10"),
        ({"n": "many"}, 400, "n", "n: must be a valid integer"),
        ({"size": "large"}, 400, "size", "Use auto, or width and height such as 1024x1024"),
        ({"size": "100x100"}, 400, "width", "multiple"),
        ({"quality": "ultra"}, 400, "quality", "'low', 'medium', 'high'"),
        ({"style": "baroque"}, 400, "style", "There is no style 'baroque'"),
        ({"response_format": "png"}, 400, "response_format", "'b64_json' or 'url'"),
        ({"stream": True}, 400, "stream", "images are not streamed"),
        ({"steps": 4}, 400, "steps", "steps: is not a parameter"),
        ({"model": "sdxl"}, 404, "model", "The model 'sdxl' is not loaded"),
        ({"seed": 2**70}, 400, "seed", "seed"),
    ],
)
def test_a_bad_request_is_refused_in_the_shape_of_openai(
    server: HttpServer, more: dict[str, object], status: int, parameter: str, text: str
) -> None:
    found, error = refusal(server, {"prompt": "a fox", "size": "256x256", **more})
    assert found == status, error
    assert error["param"] == parameter
    assert text in error["message"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_not_json_is_refused(server: HttpServer, body: bytes) -> None:
    status, error = refusal(server, body)
    assert (status, error["param"]) == (400, "body")


def test_a_token_is_needed_and_its_absence_is_an_error_in_the_shape_of_openai(server: HttpServer) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        openai.OpenAI(api_key="sk-wrong", base_url=f"http://127.0.0.1:{server.port}/v1").models.list()
    assert raised.value.code == "invalid_api_key"


def test_a_limit_is_a_rate_limit_that_the_sdk_does_not_wait_for(server: HttpServer) -> None:
    client = sdk(server, "cleo")
    client.images.generate(prompt="a fox", size="256x256")
    with pytest.raises(openai.RateLimitError) as raised:
        client.images.generate(prompt="another fox", size="256x256")
    assert raised.value.code == "rate_limit_exceeded"
    assert "There will be room for 1 image at" in raised.value.message
    assert 3_000 < int(raised.value.response.headers["retry-after"]) < 3_700
    assert raised.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest", "https://example.com/a.png", "file:///etc/passwd", "image://a"]
)
def test_no_url_is_ever_fetched(server: HttpServer, url: str) -> None:
    body, kind = form({"prompt": "night", "image": url}, [])
    answer, content = server.exchange("POST", "/v1/images/edits", body, content_type=kind, **AS_ANNA)
    assert answer.status == 400
    assert "URLs of images are not fetched" in json.loads(content)["error"]["message"]
    as_json = {"prompt": "night", "images": [{"image_url": url}]}
    status, error = refusal(server, as_json, "/v1/images/edits")
    assert status == 400
    assert "URLs of images are not fetched" in error["message"]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ([], "image: has 0 files"),
        ([("image[]", png())] * 5, "image: has 5 files"),
        ([("image", b"no image")], "image"),
        ([("image", png()[:50])], "image"),
        ([("image", png()), ("picture", png())], "picture: is not a file of an edit"),
        ([("image", png()), ("mask", b"no image")], "mask: "),
    ],
)
def test_uploads_are_bounded_and_checked(
    server: HttpServer, files: list[tuple[str, bytes]], text: str
) -> None:
    body, kind = form({"prompt": "night"}, files)
    answer, content = server.exchange("POST", "/v1/images/edits", body, content_type=kind, **AS_ANNA)
    assert answer.status == 400, content
    assert text in json.loads(content)["error"]["message"]


def test_a_body_that_is_too_large_is_refused(server: HttpServer) -> None:
    status, error = refusal(server, {"prompt": "x" * 2_000_000})
    assert (status, error["message"][:40]) == (400, "The body is larger than 1 MiB. Correct b")
    connection = HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
    connection.putrequest("POST", "/v1/images/edits")
    for name, value in {
        **AS_ANNA,
        "content-length": str(2**30),
        "content-type": "multipart/form-data",
    }.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "larger than 32 MiB" in json.loads(answer.read())["error"]["message"]
    connection.close()


def test_uploads_belong_to_their_user(server: HttpServer) -> None:
    sdk(server).images.edit(image=("mine.png", png((64, 64), "purple")), prompt="night")
    stored = [path for path in Path(server_folder(server)).rglob("*") if "inputs" in path.parts]
    assert all("anna" in path.parts for path in stored)


def server_folder(server: HttpServer) -> str:
    arguments = server.process.args
    assert isinstance(arguments, list)
    return str(arguments[arguments.index("--output-dir") + 1])


@pytest.mark.parametrize(("style", "saved"), [("vivid", "cinematic"), ("natural", "photo"), ("clay", "clay")])
def test_a_style_is_a_saved_style(server: HttpServer, style: str, saved: str) -> None:
    [image] = generate(server, {"prompt": "a fox", "size": "256x256", "style": style})["data"]
    assert "a fox" in image["revised_prompt"]
    assert image["revised_prompt"] != "a fox"
    assert saved in json.dumps(image["receipt"])
    assert any(f"style {style}: the saved style {saved} was used" in note for note in image["notes"]) == (
        style != saved
    )
