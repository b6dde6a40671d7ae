"""Hold the state that tools and commands share: settings, output folder, studio and batch tracker."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vllm_image_core.batches.events import Event
    from vllm_image_core.batches.limits import Limits
    from vllm_image_core.models.registry import Registry
    from vllm_image_core.requests.style_folder import Styles
    from vllm_image_core.studio import Studio

    from vllm_image_mcp.export_folders import ExportFolders
    from vllm_image_mcp.input_folders import InputFolders
    from vllm_image_mcp.jobs.batch_tracker import BatchTracker
    from vllm_image_mcp.output_folder import OutputFolder
    from vllm_image_mcp.settings import Settings
    from vllm_image_mcp.studio_factory import SharedServers
    from vllm_image_mcp.telemetry.observer import Observer

_SIMULATED = "Demo mode: images are simulated; a program draws them, not a model."


class State:
    """The shared state of one process: its settings, studio, output folder and running batches.

    The studio is created at its first use, so that the server answers its host before any slow import.

    Args:
        settings: The user's settings.
        wired: Whether hosts are connected by a pipe. Such a host receives progress only for calls with a
            progress token; a client in this process is called back without one.
        at_shell: Whether a person at a shell uses it. A folder that they name is used or is an error; it is
            never replaced.
        in_background: Whether it was started without a terminal, as hosts do. Its working folder means
            nothing then, so images go to the user's Pictures folder unless another one is named.
        shared: The servers, if this is the state of one of several users; None to connect to them.
        registry: The model profiles, if they are read already.
        limits: How much may be requested; None for no limits.
        users: How many users share the process, and with it the ended batches that it remembers.

    Attributes:
        listener: Called with a batch's id and each of its events; None if nothing listens.
        observer: Measures calls and images; None if nothing is measured.
        question_key: Seals what a host carries from a question to its answer, so that another process on the
            folder can go on; None for a key of this process.
    """

    listener: Callable[[str, Event], None] | None = None
    observer: Observer | None = None
    question_key: bytes | None = None

    def __init__(
        self,
        settings: Settings,
        *,
        wired: bool = False,
        at_shell: bool = False,
        in_background: bool = False,
        shared: SharedServers | None = None,
        registry: Registry | None = None,
        limits: Limits | None = None,
        users: int = 1,
    ) -> None:
        self.settings = settings
        self._users = users
        self._shared = shared
        self._registry = registry
        self._limits = limits
        self._in_background = in_background
        self.is_remote = wired
        self._at_shell = at_shell

    @cached_property
    def folder(self) -> OutputFolder:
        """The output folder, with a note if it is not the requested one."""
        from vllm_image_mcp.output_folder import (  # noqa: PLC0415 - not needed at startup
            folder_without_terminal,
            usable_folder,
        )

        is_named = "output_dir" in self.settings.model_fields_set
        if self._in_background and not is_named:
            return folder_without_terminal(self.settings.output_dir)
        return usable_folder(self.settings.output_dir, or_elsewhere=not (self._at_shell and is_named))

    @cached_property
    def registry(self) -> Registry:
        """The model profiles: the user's own, which may be a BadProfile, then the built-in ones."""
        from vllm_image_core.models.registry import Registry  # noqa: PLC0415 - not needed at startup

        if self._registry is not None:
            return self._registry
        builtin = Registry.builtin()
        return builtin if self.settings.profiles is None else builtin.with_profiles(self.settings.profiles)

    @cached_property
    def styles(self) -> Styles:
        """The saved styles: the user's own and the built-in ones."""
        from vllm_image_core.requests.style_folder import Styles  # noqa: PLC0415 - not needed at startup

        return Styles(self.settings.styles_folder)

    def read_ahead(self) -> None:
        """Load what the first call needs; any error is left for that call to report."""
        from vllm_image_core.errors import ImageError  # noqa: PLC0415 - not needed at startup

        from vllm_image_mcp.nvml import nvml_for  # noqa: PLC0415 - likewise

        with suppress(ImageError):
            _ = self.registry
        with suppress(ImportError):
            nvml_for(self.settings.vllm_urls[0])

    @cached_property
    def studio(self) -> Studio:
        """The one studio of this process."""
        from vllm_image_mcp.studio_factory import create_studio  # noqa: PLC0415 - not needed at startup

        return create_studio(
            self.settings, self.folder.path, self.registry, shared=self._shared, limits=self._limits
        )

    @cached_property
    def tracker(self) -> BatchTracker:
        """The tracker of the batches that run in this process."""
        from vllm_image_mcp.jobs.batch_tracker import (  # noqa: PLC0415 - not needed at startup
            MOST_REMEMBERED,
            BatchTracker,
        )

        return BatchTracker(
            self.studio,
            notes=self.notes,
            drain_seconds=self.settings.timeout,
            listener=self.listener,
            observer=self.observer,
            remembered=max(1, MOST_REMEMBERED // self._users),
        )

    @cached_property
    def input_folders(self) -> InputFolders:
        """The folders that input images may be read from."""
        from vllm_image_mcp.input_folders import InputFolders  # noqa: PLC0415 - only edits read images

        return InputFolders(self.studio.output_dir, self.settings.allow_dir or ())

    def set_limits(self, limits: Limits) -> None:
        """Change how much may be requested; batches in progress continue."""
        self._limits = limits
        if "studio" in self.__dict__:
            self.studio.set_limits(limits)

    @cached_property
    def export_folders(self) -> ExportFolders:
        """The folders that images may be exported to."""
        from vllm_image_mcp.export_folders import ExportFolders  # noqa: PLC0415 - only exports need them

        return ExportFolders(self.input_folders)

    def check_folder(self) -> None:
        """Refuse work that needs an unusable output folder, before anything is sent: raise CannotSave."""
        self.folder.check()

    @property
    def server_url(self) -> str:
        """The server's base URL, even if no studio exists yet."""
        return self.studio.server_url if "studio" in self.__dict__ else self.settings.vllm_url

    @property
    def asks_for_folders(self) -> bool:
        """Whether a caller may allow images to be read from further folders of this machine.

        Over HTTP, that would let anybody with a token read this machine's disk.
        """
        return self.settings.transport == "stdio"

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes that every result shows."""
        return (
            *([_SIMULATED] if self.settings.demo else []),
            *([self.folder.note] if self.folder.note else []),
        )

    @property
    def is_working(self) -> bool:
        """Whether a batch of this process is in progress."""
        return "tracker" in self.__dict__ and self.tracker.is_working

    async def drain(self, seconds: float) -> None:
        """Start no more images, and give those in progress some time; the batches can be resumed."""
        if "tracker" in self.__dict__:
            await self.tracker.drain(seconds)

    async def aclose(self) -> None:
        """Close the studio if it exists; its batches can be resumed, and the next use creates a new one."""
        if "tracker" in self.__dict__:
            tracker = self.tracker
            del self.tracker
            await tracker.aclose()
        if "studio" in self.__dict__:
            studio = self.studio
            del self.studio
            await studio.aclose()
