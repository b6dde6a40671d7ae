"""A reply: a tool's answer as structured content, beside it the same as text, a preview and links."""

from collections.abc import Sequence
from typing import Final

from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent
from pydantic import BaseModel
from pydantic_core import to_json

from vllm_image_mcp.previews import Drawing, drawn
from vllm_image_mcp.settings import Settings

__all__ = ["MOST_BYTES", "reply"]

MOST_BYTES: Final = 700_000
"""Of one result on the wire. Claude Desktop refuses one of 1 MiB; a frame of JSON-RPC is around it."""

_FRAME: Final = 4_000
_LINK: Final = 200
"""Bytes of a link's keys, beside its values."""


async def reply(
    answer: BaseModel,
    settings: Settings,
    *,
    links: Sequence[ResourceLink] = (),
    drawing: Drawing | None = None,
    is_error: bool = False,
) -> CallToolResult:
    """What a tool returns.

    The structured content is complete by itself, as hosts leave out text where it is there; the text is the
    same for those that read nothing else.

    Args:
        answer: Everything that there is to say.
        settings: Whether structured content and a preview are wanted.
        links: To the full pictures.
        drawing: What the preview shows.
        is_error: Whether nothing came of the call.
    """
    structured = answer.model_dump(mode="json")
    text = to_json(structured).decode()
    content: list[ContentBlock] = [TextContent(type="text", text=text)]
    if drawing is not None and settings.preview != "none":
        preview = await drawn(drawing, settings.preview, room=MOST_BYTES - _spent(text, links))
        content += [preview] if preview else []
    return CallToolResult(
        content=[*content, *links],
        is_error=is_error,
        structured_content=structured if settings.structured_content else None,
    )


def _spent(text: str, links: Sequence[ResourceLink]) -> int:
    """Bytes of a result without its preview: the text once as it is and once inside of a string."""
    linked = sum(_LINK + len(to_json([link.uri, link.name, link.description])) for link in links)
    return _FRAME + len(text.encode()) + len(to_json(text)) + linked
