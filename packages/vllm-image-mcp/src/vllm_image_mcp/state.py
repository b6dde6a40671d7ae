"""What the tools and the commands share: one studio, opened at its first use, as the settings say."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vllm_image_core.batches.events import Event
    from vllm_image_core.models.registry import Registry
    from vllm_image_core.studio import Studio

    from vllm_image_mcp.input_folders import InputFolders
    from vllm_image_mcp.jobs.batch_tracker import BatchTracker
    from vllm_image_mcp.output_folder import OutputFolder
    from vllm_image_mcp.settings import Settings

__all__ = ["State"]

_SIMULATED = "Demo mode: images are simulated; a program draws them, not a model."


class State:
    """The studio and what there is to say about it.

    It is opened at the first use, so that the server answers its host before anything slow is imported.

    Args:
        settings: What the server was told at its start.
        wired: Whether its hosts are at the other end of a wire: such a host hears of progress only where its
            call has a token for that. A client in this process is called back without one.
        at_shell: Whether a person at a shell works with it: a folder that they name is used, or an error.

    Attributes:
        settings: As given.
        wired: As given.
        listener: Called with a batch's id and each of its events; None if nobody wants to know.
    """

    listener: Callable[[str, Event], None] | None = None

    def __init__(self, settings: Settings, *, wired: bool = False, at_shell: bool = False) -> None:
        self.settings = settings
        self.wired = wired
        self._at_shell = at_shell

    @cached_property
    def folder(self) -> OutputFolder:
        """Where pictures go, and why there when it is not where they were asked for."""
        from vllm_image_mcp.output_folder import usable_folder  # noqa: PLC0415 - a server that starts needs no folder

        is_named = self._at_shell and "output_dir" in self.settings.model_fields_set
        return usable_folder(self.settings.output_dir, or_elsewhere=not is_named)

    @cached_property
    def registry(self) -> Registry:
        """The models' profiles, the user's own before those that come with the core.

        Raises:
            BadProfile: A file of the user's is no profile.
        """
        from vllm_image_mcp.studio_factory import registry_of  # noqa: PLC0415 - nor the core

        return registry_of(self.settings)

    @cached_property
    def studio(self) -> Studio:
        """The one studio of this process."""
        from vllm_image_mcp.studio_factory import create_studio  # noqa: PLC0415 - nor the core

        return create_studio(self.settings, self.folder.path, self.registry)

    @cached_property
    def tracker(self) -> BatchTracker:
        """The batches that are made here."""
        from vllm_image_mcp.jobs.batch_tracker import BatchTracker  # noqa: PLC0415 - nor the core

        return BatchTracker(
            self.studio, notes=self.notes, outage_timeout=self.settings.timeout, listener=self.listener
        )

    @cached_property
    def input_folders(self) -> InputFolders:
        """Where the pictures of an edit may be read."""
        from vllm_image_mcp.input_folders import InputFolders  # noqa: PLC0415 - only edits read pictures

        return InputFolders(self.studio.output_dir, self.settings.allow_dir or ())

    def check_folder(self) -> None:
        """Refuse what needs the output folder, before anything is sent; whatever else works goes on working.

        Raises:
            CannotSave: Nothing can be made or found there.
        """
        self.folder.check()

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

    @property
    def is_working(self) -> bool:
        """Whether a batch of this process is in progress."""
        return "tracker" in self.__dict__ and self.tracker.is_working

    async def drain(self, seconds: float) -> None:
        """Begin nothing more, and give what is in progress some time to end; the batches can be resumed."""
        if "tracker" in self.__dict__:
            await self.tracker.drain(seconds)

    async def aclose(self) -> None:
        """Close the studio, if it was opened; its batches can be resumed, and the next use opens another."""
        if "tracker" in self.__dict__:
            tracker = self.tracker
            del self.tracker
            await tracker.aclose()
        if "studio" in self.__dict__:
            studio = self.studio
            del self.studio
            await studio.aclose()
