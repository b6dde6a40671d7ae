"""Build a tool's reply: structured content, the same as text, a preview, and links."""

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent
from pydantic import BaseModel
from pydantic_core import to_json

from vllm_image_mcp.results.previews import Drawing, draw_preview
from vllm_image_mcp.settings import Settings

MOST_BYTES: Final = 700_000
"""Maximum size of one result. Claude Desktop refuses 1 MiB, including the JSON-RPC frame."""

_FRAME: Final = 4_000
_LINK: Final = 200
"""Bytes that a link's keys take, in addition to its values."""


async def reply(
    answer: BaseModel,
    settings: Settings,
    *,
    links: Sequence[ResourceLink] = (),
    drawing: Drawing | None = None,
    is_error: bool = False,
) -> CallToolResult:
    """Build what a tool returns.

    The structured content is complete by itself, because hosts that read it skip the text; the text repeats
    it for hosts that read only text.

    Args:
        answer: The complete result.
        settings: Whether structured content and a preview are wanted.
        links: Links to the full images.
        drawing: What the preview shows.
        is_error: Whether the call failed.
    """
    structured = answer.model_dump(mode="json")
    text = to_json(structured).decode()
    content: list[ContentBlock] = [TextContent(type="text", text=text)]
    if drawing is not None and settings.preview != "none":
        preview = await draw_preview(drawing, settings.preview, room=MOST_BYTES - _bytes_spent(text, links))
        content += [preview] if preview else []
    return CallToolResult(
        content=[*content, *links],
        is_error=is_error,
        structured_content=structured if settings.structured_content else None,
    )


def with_notes(result: CallToolResult, notes: Sequence[str]) -> CallToolResult:
    """Add notes to a result, both to its structured content and to the text that repeats it.

    Args:
        result: The result of any tool; all of them have ``notes``, a list or a string of sentences.
        notes: What to add, a few hundred bytes.
    """
    if not notes or not (result.content and isinstance(result.content[0], TextContent)):
        return result
    content: dict[str, Any] = result.structured_content or json.loads(result.content[0].text)
    there = cast("list[str] | str", content.get("notes", []))
    content = {**content, "notes": " ".join([there, *notes]) if isinstance(there, str) else [*there, *notes]}
    return result.model_copy(
        update={
            "content": [TextContent(type="text", text=to_json(content).decode()), *result.content[1:]],
            "structured_content": None if result.structured_content is None else content,
        }
    )


def _bytes_spent(text: str, links: Sequence[ResourceLink]) -> int:
    """Bytes of a result without its preview: the text once as it is, and once inside a JSON string."""
    linked = sum(_LINK + len(to_json([link.uri, link.name, link.description])) for link in links)
    return _FRAME + len(text.encode()) + len(to_json(text)) + linked
