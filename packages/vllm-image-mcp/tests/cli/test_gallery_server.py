"""The served gallery: who may use it, what it shows and what it stores."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from vllm_image_core.storage.verdicts import Opinion, Verdicts
from vllm_image_mcp.cli.gallery_server import GalleryServer

RunIn = Callable[..., Result]


@pytest.fixture
def folder(run_in: RunIn, finished_batch: str, tmp_path: Path) -> Path:
    assert run_in("find", "--batch", finished_batch).exit_code == 0
    return tmp_path / "made"


@pytest.fixture
async def browser(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    server = GalleryServer(folder)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app()), base_url=server.url) as client:
        yield client
    server.close()


def first_name(folder: Path) -> str:
    return min(path.name for path in folder.glob("*.png"))


async def test_the_page_and_its_images_are_served_and_nothing_else(
    browser: httpx.AsyncClient, folder: Path
) -> None:
    page = await browser.get("")
    assert page.status_code == 200
    assert '"editable":true' in page.text
    name = first_name(folder)
    assert (await browser.get(name)).content == (folder / name).read_bytes()
    [thumbnail, *_] = (folder / ".vllm-image" / "thumbnails").iterdir()
    assert (await browser.get(f".vllm-image/thumbnails/{thumbnail.name}")).status_code == 200
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "secret.png").write_bytes(b"secret")
    (folder.parent / "outside.png").write_bytes(b"secret")
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    for path in (
        ".vllm-image/journal.sqlite3",
        ".hidden/secret.png",
        "link.png",
        "%2e%2e/outside.png",
        "..%2foutside.png",
        "none.png",
        "gallery.html",
    ):
        assert (await browser.get(path)).status_code == 404, path


async def test_a_decision_applies_to_the_image_however_its_name_is_written(
    browser: httpx.AsyncClient, folder: Path
) -> None:
    name = first_name(folder)
    answer = await browser.post("opinion", json={"name": f"./{name}", "verdict": "keep", "stars": 4})
    assert answer.json() == {"file": name, "choice": "kept", "stars": 4}
    assert Verdicts(folder).opinions() == {name: Opinion(kept=True, stars=4)}


async def test_decisions_are_stored_and_answered_with_the_new_state(
    browser: httpx.AsyncClient, folder: Path
) -> None:
    name = first_name(folder)
    kept = await browser.post("opinion", json={"name": name, "verdict": "keep", "stars": 4})
    assert kept.json() == {"file": name, "choice": "kept", "stars": 4}
    rejected = await browser.post("opinion", json={"name": name, "verdict": "reject", "tag": "blurred"})
    assert rejected.json() == {
        "file": f"rejected/{name}",
        "choice": "rejected",
        "stars": 4,
        "tag": "blurred",
    }
    assert (await browser.get(f"rejected/{name}")).status_code == 200
    assert '"choice":"rejected"' in (await browser.get("")).text
    back = await browser.post("opinion", json={"name": name, "verdict": "clear"})
    assert (back.json()["choice"], (folder / name).exists()) == ("", True)
    assert Verdicts(folder).opinions() == {name: Opinion(stars=4, tag="blurred")}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"name": "../outside.png", "verdict": "keep"}, 400, "is not an image in"),
        ({"name": "none.png", "stars": 4}, 400, "is not an image in"),
        ({"verdict": "keep"}, 400, "Send the name"),
        (["keep"], 400, "Send the name"),
        ({"name": "x" * 20_000}, 400, "Send the name"),
    ],
)
async def test_an_invalid_decision_is_refused_with_an_explanation(
    browser: httpx.AsyncClient, body: object, status: int, says: str
) -> None:
    answer = await browser.post("opinion", json=body)
    assert (answer.status_code, says in answer.text) == (status, True)


async def test_a_form_of_another_page_is_refused(browser: httpx.AsyncClient, folder: Path) -> None:
    form = await browser.post("opinion", content=b"{}", headers={"content-type": "text/plain"})
    assert form.status_code == 415
    assert Verdicts(folder).opinions() == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
    ],
)
async def test_another_host_or_origin_sees_nothing(
    browser: httpx.AsyncClient, folder: Path, headers: dict[str, str]
) -> None:
    change = {"name": first_name(folder), "verdict": "reject"}
    assert (await browser.get("", headers=headers)).status_code == 404
    assert (await browser.post("opinion", json=change, headers=headers)).status_code == 404
    assert Verdicts(folder).opinions() == {}


async def test_without_the_token_nothing_is_served(browser: httpx.AsyncClient, folder: Path) -> None:
    name = first_name(folder)
    for path in ("/", "/wrong/", f"/{name}", f"/wrong/{name}", f"/wr%C3%B6ng/{name}"):
        assert (await browser.get(httpx.URL(browser.base_url).copy_with(path=path))).status_code == 404


async def test_the_page_may_decide_from_its_own_origin(browser: httpx.AsyncClient, folder: Path) -> None:
    origin = f"http://127.0.0.1:{browser.base_url.port}"
    change = {"name": first_name(folder), "verdict": "keep"}
    answer = await browser.post("opinion", json=change, headers={"origin": origin})
    assert answer.json()["choice"] == "kept"


def test_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    server = GalleryServer(tmp_path)
    assert server.url.startswith("http://127.0.0.1:")
    server.close()
