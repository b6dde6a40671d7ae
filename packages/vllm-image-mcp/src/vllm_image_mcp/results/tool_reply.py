"""Build a tool's reply: structured content, the same as text, a preview, and links."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from mcp.types import CallToolResult, TextContent
from pydantic_core import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp.types import ContentBlock, ResourceLink
    from pydantic import BaseModel

    from vllm_image_mcp.results.previews import Drawing
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
    """
    structured = answer.model_dump(mode="json")
    text = to_json(structured).decode()
    content: list[ContentBlock] = [TextContent(type="text", text=text)]
    if drawing is not None and settings.preview != "none":
        from vllm_image_mcp.results.previews import draw_preview  # noqa: PLC0415 - the server starts without it

        # A host gets the text once as it is, and once inside a JSON string.
        linked = sum(_LINK + len(to_json([link.uri, link.name, link.description])) for link in links)
        room = MOST_BYTES - _FRAME - len(text.encode()) - len(to_json(text)) - linked
        preview = await draw_preview(drawing, settings.preview, room=room)
        content += [preview] if preview else []
    return CallToolResult(
        content=[*content, *links],
        is_error=is_error,
        structured_content=structured if settings.structured_content else None,
    )


def with_notes(result: CallToolResult, notes: Sequence[str]) -> CallToolResult:
    """Add notes to a result of any tool, both to its structured content and to the text that repeats it."""
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
