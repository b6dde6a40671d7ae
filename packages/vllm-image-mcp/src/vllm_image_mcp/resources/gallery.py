"""Offer the gallery, an MCP App: a page in the host's window that shows the images of a batch.

Hosts without MCP Apps never read it; they show the contact sheet in the tool's result.
"""

import base64
import hashlib
from pathlib import Path
from string import Template
from typing import Final

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FunctionResource

GALLERY: Final = "ui://vllm-image/gallery.html"
"""The page's address."""

_SHOWN: Final = frozenset({"batch_generate", "get_batch"})
_FOLDER: Final = Path(__file__).with_name("gallery_page")


def gallery() -> Apps:
    """The MCP extension with the page, whose files are read when a host requests it."""
    apps = Apps()
    apps.add_resource(
        FunctionResource(
            uri=GALLERY,
            name="gallery",
            title="Gallery",
            description="Shows the images of a batch: pick them, enlarge them, ask for more like them.",
            mime_type=APP_MIME_TYPE,
            meta={"ui": {"csp": {}, "permissions": {"clipboardWrite": {}}, "prefersBorder": True}},
            fn=page,
        )
    )
    return apps


def tool_meta(tool: str) -> dict[str, object] | None:
    """The metadata that links a tool to the page; None if its results are not batches."""
    return {"ui": {"resourceUri": GALLERY}} if tool in _SHOWN else None


def page() -> str:
    """The page as one HTML document that loads nothing: its policy allows only its own script and style."""
    script, style = (_FOLDER.joinpath(name).read_text("utf-8") for name in ("page.js", "page.css"))
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    template = Template(_FOLDER.joinpath("page.html").read_text("utf-8"))
    return template.substitute(policy=policy, script=script, style=style)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
