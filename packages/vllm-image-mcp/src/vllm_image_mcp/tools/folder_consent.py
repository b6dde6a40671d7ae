"""Ask the user before images are read from a folder, or exported to one, that nobody has allowed yet."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, cast

from mcp.server.mcpserver import Context, Elicit, ListRoots, Resolve
from mcp.types import ListRootsResult
from pydantic import BaseModel, Field
from vllm_image_core.file_url import path_in_url
from vllm_image_core.text import LONGEST_PATH, one_line

from vllm_image_mcp.state import State
from vllm_image_mcp.tools.consent import can_ask

_LEGACY_BEFORE: Final = "2026-07-28"
"""Hosts of this version of the protocol and later have no roots."""

_MOST_ROOTS: Final = 50


class FolderConsent(BaseModel):
    """The user's answer."""

    allow: bool = Field(default=True, description="Let images in this folder be read.")


class ExportConsent(BaseModel):
    """The user's answer."""

    allow: bool = Field(default=True, description="Let images be saved in this folder.")


async def offered_roots(
    ctx: Context[State], *, images: object, mask: object, reference_image: object
) -> ListRoots | ListRootsResult:
    """Ask a host that has roots for them, if an image lies outside the folders that may be read."""
    if _can_list_roots(ctx) and _folders_outside(ctx, images, mask, reference_image):
        return ListRoots()
    return ListRootsResult(roots=[])


async def offered_export_roots(ctx: Context[State], *, export_to: object) -> ListRoots | ListRootsResult:
    """Ask a host that has roots for them, if images may not be exported to a folder yet."""
    if _can_list_roots(ctx) and ctx.request_context.lifespan_context.export_folders.outside(export_to):
        return ListRoots()
    return ListRootsResult(roots=[])


async def export_consent(
    ctx: Context[State],
    *,
    export_to: object,
    roots: Annotated[ListRootsResult, Resolve(offered_export_roots)],
) -> Elicit[ExportConsent] | ExportConsent:
    """Ask about a folder that images may not be exported to yet.

    Nothing more is allowed, and nobody is asked, if it is allowed already or if the host cannot ask.
    """
    state = ctx.request_context.lifespan_context
    if not state.asks_for_folders:
        return ExportConsent(allow=False)
    _allow_roots(state, roots)
    folder = state.export_folders.outside(export_to)
    if folder is None or not can_ask(ctx):
        return ExportConsent(allow=False)
    named = one_line(str(folder), limit=LONGEST_PATH)
    question = (
        f"May rate_images save copies of images in {named}? Your answer applies until the server stops."
    )
    return Elicit(question, ExportConsent)


def remember_export_answer(ctx: Context[State], export_to: object, *, agreed: bool) -> None:
    """Remember the user's answer on the folder that they were asked about."""
    state = ctx.request_context.lifespan_context
    if can_ask(ctx) and state.asks_for_folders:
        folder = state.export_folders.outside(export_to)
        if folder is not None:
            state.export_folders.remember(folder, agreed=agreed)


async def folder_consent(
    ctx: Context[State],
    *,
    images: object,
    mask: object,
    reference_image: object,
    roots: Annotated[ListRootsResult, Resolve(offered_roots)],
) -> Elicit[FolderConsent] | FolderConsent:
    """Ask about all folders of a call that may not be read yet; agree if there are none.

    If the host cannot ask, nothing more is allowed, and reading the image is refused.
    """
    state = ctx.request_context.lifespan_context
    if not state.asks_for_folders:
        return FolderConsent(allow=False)
    _allow_roots(state, roots)
    asked = _folders_outside(ctx, images, mask, reference_image)
    if not asked or not can_ask(ctx):
        return FolderConsent(allow=False)
    named = " and ".join(one_line(str(folder), limit=LONGEST_PATH) for folder in asked)
    question = f"May edit_image read images in {named}? Your answer applies until the server stops."
    return Elicit(question, FolderConsent)


def remember_answer(
    ctx: Context[State], images: object, mask: object, reference_image: object, *, agreed: bool
) -> None:
    """Remember the user's answer on the folders that they were asked about."""
    state = ctx.request_context.lifespan_context
    if can_ask(ctx) and state.asks_for_folders:
        folders = state.input_folders
        for folder in _folders_outside(ctx, images, mask, reference_image):
            folders.remember(folder, agreed=agreed)


def _can_list_roots(ctx: Context[State]) -> bool:
    """Whether the host has roots, and may name them."""
    capabilities = ctx.client_capabilities
    has_roots = capabilities is not None and capabilities.roots is not None
    is_legacy = (ctx.protocol_version or "") < _LEGACY_BEFORE
    return ctx.request_context.lifespan_context.asks_for_folders and has_roots and is_legacy


def _allow_roots(state: State, roots: ListRootsResult) -> None:
    for root in roots.roots[:_MOST_ROOTS]:
        if (path := _root_path(str(root.uri))) is not None:
            state.input_folders.allow(path)


def _folders_outside(ctx: Context[State], *given: object) -> tuple[Path, ...]:
    """Return the folders of a call's images that may not be read yet."""
    folders = ctx.request_context.lifespan_context.input_folders
    found = (folders.outside(name) for each in given for name in _names(each))
    return tuple(dict.fromkeys(folder for folder in found if folder is not None))


def _names(given: object) -> Iterable[object]:
    return cast("list[object]", given) if isinstance(given, list) else (given,)


def _root_path(uri: str) -> Path | None:
    """Return the folder of a root; None if it is not a folder here, or is an entire disk."""
    try:
        path = Path(path_in_url(uri))
    except ValueError:
        return None
    return path if path.is_absolute() and path != Path(path.anchor) else None
