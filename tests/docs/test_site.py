"""The site is built without a warning, loads nothing from elsewhere, and each page is two clicks away."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin

import pytest

ADDRESS = "https://vllm-image.github.io/vllm-image/"
LOADED = re.compile(
    r'<(?:script|img|iframe|source)\b[^>]*?\bsrc="([^"]+)"'
    r'|<link\b(?=[^>]*\brel="(?:stylesheet|preload|icon|preconnect)")[^>]*?\bhref="([^"]+)"'
    r"|url\\(([^)]+)\\)"
)
LINK = re.compile(r'<a\b[^>]*?\bhref="([^"#]+)')
MOST_CLICKS = 2


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> Mapping[str, str]:
    """The HTML of each page by its address within the site."""
    found = {
        path.parent.relative_to(site).as_posix(): path.read_text("utf-8") for path in site.rglob("index.html")
    }
    return {"" if name == "." else f"{name}/": html for name, html in found.items()}


def test_a_page_loads_nothing_from_elsewhere(pages: Mapping[str, str]) -> None:
    for page, html in pages.items():
        loaded = [found[1] or found[2] or found[3] for found in LOADED.finditer(html)]
        assert loaded, page
        assert [each for each in loaded if re.match(r"(https?:)?//", each)] == [], page


def test_diagrams_are_drawn_by_the_program_of_the_site_itself(site: Path, pages: Mapping[str, str]) -> None:
    assert "globalThis" in (site / "assets/javascripts/mermaid.js").read_text("utf-8")
    with_diagrams = [page for page, html in pages.items() if 'class="mermaid"' in html]
    assert {"architecture/", "concepts/", "readme/"} <= set(with_diagrams)
    for page in with_diagrams:
        assert 'assets/javascripts/mermaid.js"></script>' in pages[page], page


def test_each_page_is_at_most_two_clicks_from_the_first(pages: Mapping[str, str]) -> None:
    reached = {""}
    for _ in range(MOST_CLICKS):
        reached |= {target for page in reached for target in links(page, pages[page]) if target in pages}
    assert set(pages) - reached == set()


def links(page: str, html: str) -> set[str]:
    """The pages of the site that a page links to."""
    targets = (urljoin(ADDRESS + page, link) for link in LINK.findall(html))
    return {target.removeprefix(ADDRESS) for target in targets if target.startswith(ADDRESS)}


def test_search_finds_pages_packages_notebooks_and_docstrings(site: Path) -> None:
    entries = json.loads((site / "search/search_index.json").read_text("utf-8"))["docs"]
    locations = {entry["location"] for entry in entries}
    assert {
        "server/#from-a-container",
        "client/#tls",
        "packages/vllm-omni-client/#errors",
        "notebooks/first_image/",
        "reference/vllm_image_core/#vllm_image_core.Studio.generate",
        "reference/vllm_image_mcp/#vllm_image_mcp.server.build_server",
    } <= locations


def test_each_question_is_one_click_away_and_answered_with_an_example_or_a_link(
    root: Path, site: Path, pages: Mapping[str, str]
) -> None:
    assert "questions/" in links("", pages[""])
    text = (root / "docs" / "questions.md").read_text("utf-8")
    questions = re.findall(r"^### ([^\n]+)\n(.+?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
    assert len(questions) > 40
    for question, answer in questions:
        assert question.endswith("?"), question
        assert re.search(r"\]\(|`", answer), question
    entries = json.loads((site / "search/search_index.json").read_text("utf-8"))["docs"]
    found = [entry for entry in entries if entry["location"].startswith("questions/#")]
    assert len(found) >= len(questions)
