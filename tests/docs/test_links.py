"""Links inside the repository lead somewhere, and the pages name nothing that a reader cannot use."""

import re
from pathlib import Path

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NOT_FOR_READERS = re.compile(
    r"pypi\.org|pythonhosted|registry\.npmjs|test\.pypi|index-url|artifactory|nexus|/root/|/tmp/",
    re.IGNORECASE,
)


def test_links_and_their_anchors_lead_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(without_code(page)) if not leads_somewhere(link, page)]

    assert broken == []


def test_a_page_names_no_registry_host_and_no_path_of_a_machine(page: Path) -> None:
    assert NOT_FOR_READERS.findall(page.read_text("utf-8")) == []


def test_a_package_page_has_no_links_that_break_outside_the_repository(root: Path) -> None:
    relative = [
        link
        for page in root.glob("packages/*/README.md")
        for link in LINK.findall(without_code(page))
        if "://" not in link and not link.startswith("#")
    ]

    assert relative == []


def leads_somewhere(link: str, page: Path) -> bool:
    if link.startswith("https://"):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#{1,6} (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
