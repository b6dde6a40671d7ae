"""What the tools and the commands share: one studio, opened at its first use, as the settings say."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_image_core.registry import Registry
    from vllm_image_core.studio import Studio

    from vllm_image_mcp.floor import Floor
    from vllm_image_mcp.folder import Folder
    from vllm_image_mcp.settings import Settings

__all__ = ["State"]

_SIMULATED = "Demo mode: pictures are simulated, drawn by a procedure and not by a model."


class State:
    """The studio and what there is to say about it.

    It is opened at the first use, so that the server answers its host before anything slow is imported.

    Attributes:
        settings: What the server was told at its start.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def folder(self) -> Folder:
        """Where pictures go, and why there when it is not where they were asked for."""
        from vllm_image_mcp.folder import usable_folder  # noqa: PLC0415 - a server that starts needs no folder

        return usable_folder(self.settings.output_dir)

    @cached_property
    def registry(self) -> Registry:
        """The models' profiles, the user's own before those that come with the core.

        Raises:
            BadProfile: A file of the user's is no profile.
        """
        from vllm_image_mcp.opening import registry_of  # noqa: PLC0415 - nor the core

        return registry_of(self.settings)

    @cached_property
    def studio(self) -> Studio:
        """The one studio of this process."""
        from vllm_image_mcp.opening import opened  # noqa: PLC0415 - nor the core

        return opened(self.settings, self.folder.path, self.registry)

    @cached_property
    def floor(self) -> Floor:
        """The batches that are made here."""
        from vllm_image_mcp.floor import Floor  # noqa: PLC0415 - nor the core

        return Floor(self.studio, notes=self.notes, patience=self.settings.timeout)

    @property
    def server_url(self) -> str:
        """The server's base URL, also where no studio could be opened for it."""
        return self.studio.server_url if "studio" in self.__dict__ else self.settings.vllm_url

    @property
    def notes(self) -> tuple[str, ...]:
        """Told with every picture."""
        return (
            *([_SIMULATED] if self.settings.demo else []),
            *([self.folder.note] if self.folder.note else []),
        )

    async def aclose(self) -> None:
        """Close the studio, if it was opened; its batches can be resumed."""
        if "floor" in self.__dict__:
            await self.floor.aclose()
        if "studio" in self.__dict__:
            await self.studio.aclose()
