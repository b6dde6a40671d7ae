"""The page of a folder's images: what it contains, and what it never does."""

import errno
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any, cast

import pytest
from drawing_server import Server, studio_of
from vllm_image_core.gallery.page import gallery_page, served_gallery, write_gallery
from vllm_image_core.requests.fields import fields_shown_in
from vllm_image_core.storage.index import Index
from vllm_image_core.storage.query import Query

HOSTILE = """</script><img src=x onerror=alert(1)> & "quoted" \u2028 it's"""


def data_of(page: Path) -> dict[str, Any]:
    return data_in(page.read_text("utf-8"))


def data_in(page: str) -> dict[str, Any]:
    found = re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    async with studio_of(Server(), tmp_path) as studio:
        await studio.generate("a red fox", width=64, height=64, seed=2**62)
        await studio.generate(HOSTILE, width=64, height=64, seed=4, filename="100% #1")
    return tmp_path


async def test_each_image_has_its_file_a_thumbnail_and_the_command_that_makes_it_again(folder: Path) -> None:
    page = write_gallery(folder)
    shown = {image["prompt"]: image for image in data_of(page)["images"]}
    fox = shown["a red fox"]
    assert page == folder / "gallery.html"
    assert fox["seed"] == fox["parameters"]["seed"] == str(2**62)
    assert (fox["size"], fox["edited"]) == ("64x64", False)
    assert (folder / fox["file"]).is_file()
    assert (folder / fox["thumbnail"]).read_bytes().startswith(b"\xff\xd8")
    assert shown[HOSTILE]["file"] == "100%25%20%231.png"


async def test_the_page_and_its_thumbnails_wait_for_a_scanner(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gallery(folder)
    shutil.rmtree(folder / ".vllm-image" / "thumbnails")
    replace = os.replace
    tries: Counter[str] = Counter()

    def scanned(old: Path, new: Path) -> None:
        tries[new.name] += 1
        if tries[new.name] < 3:  # emulated: Windows replaces no file that is open
            raise PermissionError(errno.EACCES, "it is being used by another process", str(old))
        replace(old, new)

    monkeypatch.setattr(os, "replace", scanned)
    [fox] = [each for each in data_of(write_gallery(folder))["images"] if each["prompt"] == "a red fox"]
    assert (folder / fox["thumbnail"]).is_file()
    assert sorted(tries.values()) == [3, 3, 3]


async def test_images_have_the_names_that_verdicts_know_on_windows_too(folder: Path) -> None:
    root = PureWindowsPath(r"D:\out")
    [record, *_] = Index(folder).find(Query()).pictures
    paths = {root / r"hero\fox.png": "hero/fox.png", root / r"rejected\hero\owl.png": "hero/owl.png"}
    records = [replace(record, path=cast("Path", path)) for path in paths]
    page = gallery_page(records, {}, cast("Path", root), editable=True)
    assert [image["name"] for image in data_in(page)["images"]] == list(paths.values())


async def test_a_prompt_cannot_close_its_html_element(folder: Path) -> None:
    text = write_gallery(folder).read_text("utf-8")
    assert "<img src=x" not in text
    assert text.count("</script>") == 2


async def test_the_page_requests_nothing_from_elsewhere(folder: Path) -> None:
    text = write_gallery(folder).read_text("utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text


async def test_every_parameter_has_its_shell_option(folder: Path) -> None:
    options = data_of(write_gallery(folder))["options"]
    assert options["num_inference_steps"] == "--steps"
    assert options.keys() == {each.name for each in fields_shown_in("generate")} - {"prompt"}


async def test_a_rewritten_page_shows_the_current_images(folder: Path) -> None:
    first = data_of(write_gallery(folder))["images"]
    (folder / "100% #1.png").unlink()
    second = data_of(write_gallery(folder))["images"]
    assert (len(first), len(second)) == (2, 1)


async def test_verdicts_are_shown_and_rejected_images_only_if_the_page_is_served(tmp_path: Path) -> None:
    async with studio_of(Server(), tmp_path) as studio:
        fox = await studio.generate("a red fox", width=64, height=64)
        owl = await studio.generate("an owl", width=64, height=64)
        await studio.rate([fox], verdict="keep", stars=4, tag="hero")
        await studio.rate([owl], verdict="reject")
    page = write_gallery(tmp_path)
    [only] = data_of(page)["images"]
    assert (only["choice"], only["stars"], only["tag"], data_of(page)["editable"]) == (
        "kept",
        4,
        "hero",
        False,
    )
    page.write_text(served_gallery(tmp_path), encoding="utf-8")
    shown = {image["prompt"]: image for image in data_of(page)["images"]}
    rejected = shown["an owl"]
    assert (rejected["choice"], rejected["name"]) == ("rejected", owl.path.name)
    assert rejected["file"] == f"rejected/{owl.path.name}"
    assert data_of(page)["editable"]


def test_a_folder_without_images_has_a_page_too(tmp_path: Path) -> None:
    assert data_of(write_gallery(tmp_path))["images"] == []


async def test_progress_is_reported_up_to_the_last_image(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_gallery(folder, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
