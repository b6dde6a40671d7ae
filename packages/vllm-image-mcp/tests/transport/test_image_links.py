"""A signed URL shows one file of one user for an hour, and any other URL shows nothing."""

import time
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
from PIL import Image
from starlette.requests import Request
from vllm_image_mcp.transport.image_links import FILES_PATH, ImageLinks

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def links(tmp_path: Path) -> ImageLinks:
    for name in ("anna", "bert"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), "teal").save(tmp_path / name / "fox.png")
    return ImageLinks(KEY, {"anna": tmp_path / "anna", "bert": tmp_path / "bert"})


def request(path: str, *, method: str = "GET") -> Request:
    headers = [(b"host", b"images.example.com")]
    return Request(
        {
            "type": "http",
            "method": method,
            "path": path,
            "headers": headers,
            "scheme": "http",
            "server": ("images.example.com", 80),
            "query_string": b"",
            "root_path": "",
        }
    )


def signed(key: bytes = KEY, **claims: object) -> str:
    full = {"sub": "anna", "file": "fox.png", "exp": int(time.time()) + 60, **claims}
    return f"{FILES_PATH}{jwt.encode(full, key, 'HS256')}/fox.png"


async def test_a_link_shows_its_image_under_the_address_that_the_client_used(links: ImageLinks) -> None:
    url = urlsplit(links.link("anna", request("/v1/images/generations"), "fox.png"))
    assert url.netloc == "images.example.com"
    answer = await links.answer(request(url.path))
    assert (answer.status_code, answer.media_type, bytes(answer.body)[:4]) == (200, "image/png", b"\x89PNG")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_public_address_replaces_the_one_that_the_client_used(tmp_path: Path) -> None:
    links = ImageLinks(KEY, {"": tmp_path}, "https://images.example.com/")
    assert links.link("", request("/"), "a.png").startswith(f"https://images.example.com{FILES_PATH}")


@pytest.mark.parametrize(
    "path",
    [
        signed(key=b"another key of thirty-two bytes!"),
        signed(exp=1),
        signed(sub="nobody"),
        signed(file="missing.png"),
        signed(file="../bert/fox.png"),
        signed(file="/etc/passwd"),
        f"{FILES_PATH}{jwt.encode({'sub': 'anna', 'file': 'fox.png'}, KEY, 'HS256')}/fox.png",
        f"{FILES_PATH}{jwt.encode({'sub': 'anna'}, '', 'none')}/fox.png",
        FILES_PATH,
    ],
)
async def test_any_other_link_shows_nothing(links: ImageLinks, path: str) -> None:
    answer = await links.answer(request(path))
    assert answer.status_code == 404
