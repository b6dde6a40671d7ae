"""Complete the arguments of prompts and resource addresses while a person types them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mcp.server import MCPServer
from mcp.types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from vllm_image_mcp.resources.prompts import SETTINGS
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST: Final = 100
"""The protocol's limit on values per completion."""
_WAIT_SECONDS: Final = 2.0
"""Longest wait for the server, since somebody is typing."""
_MOST_SEARCHED: Final = 200
_FIXED: Final = {
    ("prompt", "setting"): SETTINGS,
    ("prompt", "count"): [str(number) for number in range(2, 21)],
    ("image", "format"): ["webp", "jpeg", "png"],
}
"""The values of arguments that depend on nothing."""


def add_completions(server: MCPServer[State], state: State) -> None:
    """Register the completions; nothing is opened until somebody types."""
    server.completion()(Completions(state).complete)


class Completions:
    """Suggests values that match what was typed of an argument."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def complete(
        self,
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        _: CompletionContext | None,
    ) -> Completion | None:
        """Values that start with what was typed, then those that contain it; None for free text."""
        where = "prompt" if isinstance(ref, PromptReference) else ref.uri.partition("://")[0]
        source = {
            ("prompt", "aspect_ratio"): self._ratios,
            ("image", "id"): self._images,
            ("batch", "id"): self._batches,
            ("profile", "model"): self._models,
            ("style", "name"): self._styles,
        }.get((where, argument.name))
        candidates = await source() if source else _FIXED.get((where, argument.name))
        if candidates is None:
            return None
        typed = argument.value.casefold()
        found = [each for each in candidates if typed in each.casefold()]
        found.sort(key=lambda each: not each.casefold().startswith(typed))
        return Completion(values=found[:_MOST], total=len(found), has_more=len(found) > _MOST)

    async def _ratios(self) -> Iterable[str]:
        """The loaded model's aspect ratios, or the fallback profile's if the server does not answer."""
        from vllm_image_core.errors import ImageError  # noqa: PLC0415 - the server starts without it
        from vllm_omni_client.errors import OmniError  # noqa: PLC0415 - likewise

        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                profile = (await self._state.studio.model()).profile
        except (TimeoutError, ImageError, OmniError):
            profile = self._state.registry.fallback
        return profile.supported_aspect_ratios

    async def _models(self) -> Iterable[str]:
        registry = await asyncio.to_thread(lambda: self._state.registry)
        return [profile.model for profile in registry]

    async def _styles(self) -> Iterable[str]:
        return await asyncio.to_thread(self._state.styles.names)

    async def _images(self) -> Iterable[str]:
        from vllm_image_core.storage.subfolders import name_in  # noqa: PLC0415 - likewise

        from vllm_image_mcp.resources import stored_images  # noqa: PLC0415 - likewise

        try:
            found = await asyncio.to_thread(
                lambda: stored_images.latest(self._state.folder.path, _MOST_SEARCHED)
            )
        except OSError:
            return ()
        return [name_in(self._state.folder.path, record.path) for record in found]

    async def _batches(self) -> Iterable[str]:
        from vllm_image_core.errors import ImageError  # noqa: PLC0415 - likewise

        try:
            return [batch.id for batch in await self._state.studio.batches(_MOST_SEARCHED)]
        except ImageError:
            return ()
