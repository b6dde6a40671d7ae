"""The command `gallery`: where it writes the page, and what it prints."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from vllm_image_mcp.cli.gallery_server import GalleryServer

Run = Callable[..., Result]


def test_the_page_of_the_output_folder_is_written_and_its_path_is_printed(
    run_in: Run, finished_batch: str, tmp_path: Path
) -> None:
    result = run_in("gallery")
    page = tmp_path / "made" / "gallery.html"
    assert (result.exit_code, result.stdout) == (0, f"{page}\n")
    assert finished_batch in page.read_text("utf-8")


def test_another_folder_can_be_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    assert run("gallery", "old").stdout == f"{tmp_path / 'old' / 'gallery.html'}\n"


def test_open_shows_the_page_in_the_browser(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("click.launch", shown.append)
    run("gallery", str(tmp_path), "--open")
    assert shown == [str(tmp_path / "gallery.html")]


def test_an_unwritable_page_is_an_error_in_plain_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gallery.html").mkdir()
    (tmp_path / "gallery.html" / "file").touch()
    result = run("gallery", str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: The page cannot be written: ")


def test_serve_prints_the_address_opens_it_and_ends_without_an_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def interrupt(server: GalleryServer) -> None:
        server.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("click.launch", shown.append)
    monkeypatch.setattr(GalleryServer, "run", interrupt)
    result = run("gallery", str(tmp_path), "--serve", "--open", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"url": shown[0]})
    assert "Press Ctrl-C to stop" in result.stderr
