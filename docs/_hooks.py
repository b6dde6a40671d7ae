"""What the site has besides docs/: the READMEs, the notebooks, the examples, and the API reference."""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
LINK: Final = re.compile(r"(!?\[[^\]]*\]\()(?!https?:|#|mailto:)([^)#\s]+)")

PAGES: Final = {
    "README.md": "readme.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "packages/vllm-omni-client/README.md": "client.md",
    "packages/vllm-image-core/README.md": "core.md",
    "packages/vllm-image-mcp/README.md": "mcp.md",
    **{
        path.relative_to(ROOT).as_posix(): f"notebooks/{path.stem}.md"
        for path in ROOT.glob("notebooks/*.ipynb")
    },
    **{path.relative_to(ROOT).as_posix(): f"examples/{path.stem}.md" for path in ROOT.glob("examples/*.py")},
}
"""Files of the repository, each with its page."""

REFERENCE: Final = ("vllm_omni_client", "vllm_image_core")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files."""
    for source, page in PAGES.items():
        if (ROOT / source).exists():
            files.append(File.generated(config, page, content=_markdown(ROOT / source)))
    for package in REFERENCE:
        files.append(
            File.generated(config, f"reference/{package}.md", content=f"# {package}\n\n::: {package}\n")
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - as mkdocs calls it
    """Let links between files of the repository lead to their pages."""
    here = {page: source for source, page in PAGES.items()}.get(
        page.file.src_uri, f"docs/{page.file.src_uri}"
    )

    def on_site(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[2]))
        on_page = PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if on_page is None:
            return found[0]
        return found[1] + posixpath.relpath(on_page, posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(on_site, markdown)


def _markdown(source: Path) -> str:
    """Return a file as a page: Markdown as it is, a notebook cell by cell, a program as one code block."""
    text = source.read_text("utf-8")
    if source.suffix == ".md":
        return text
    if source.suffix == ".py":
        return f"# {source.name}\n\n```python\n{text}```\n"
    return "\n\n".join(part for cell in json.loads(text)["cells"] for part in _parts(cell))


def _parts(cell: Mapping[str, Any]) -> Iterator[str]:
    """Yield the source of a notebook's cell, and what it shows: HTML, an image, or text."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        image = next((kind for kind in data if kind.startswith("image/")), None)
        if "text/html" in data:
            yield f"<div>{_on_one_line(data['text/html'])}</div>"
        elif image is not None:
            yield f'<img alt="" src="data:{image};base64,{_on_one_line(data[image])}">'
        else:
            yield f"```text\n{''.join(output.get('text') or data.get('text/plain', '')).rstrip()}\n```"


def _on_one_line(lines: str | Sequence[str]) -> str:
    """Join the lines of an output; a blank line in HTML would be read as the end of it."""
    return "".join(lines).replace("\n", " " if "<" in lines[0] else "")
