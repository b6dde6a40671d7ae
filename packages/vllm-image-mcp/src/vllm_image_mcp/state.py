"""What the tools and the commands share: one studio, opened at its first use, as the settings say."""

from functools import cached_property
from pathlib import Path

from vllm_image_core.gpu import Gpu
from vllm_image_core.metadata import Metadata
from vllm_image_core.registry import Registry
from vllm_image_core.studio import Studio

from vllm_image_mcp.folder import Folder, usable_folder
from vllm_image_mcp.settings import Settings

__all__ = ["State"]

_SIMULATED = "Demo mode: pictures are simulated, drawn by a procedure and not by a model."


class State:
    """The studio and what there is to say about it.

    It is opened at the first use, so that the server answers its host before anything slow is imported.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def folder(self) -> Folder:
        """Where pictures go, and why there when it is not where they were asked for."""
        return usable_folder(self._settings.output_dir)

    @cached_property
    def registry(self) -> Registry:
        """The models' profiles, the user's own before those that come with the core.

        Raises:
            BadProfile: A file of the user's is no profile.
        """
        builtin = Registry.builtin()
        own = self._settings.profiles
        return builtin if own is None else builtin.with_profiles(own)

    @cached_property
    def studio(self) -> Studio:
        """The one studio of this process."""
        return (
            _demo(self._settings, self.folder.path, self.registry)
            if self._settings.demo
            else _real(self._settings, self.folder.path, self.registry)
        )

    @property
    def server_url(self) -> str:
        """The server's base URL, also where no studio could be opened for it."""
        return self.studio.server_url if "studio" in self.__dict__ else self._settings.vllm_url

    @property
    def notes(self) -> tuple[str, ...]:
        """Told with every picture."""
        return (
            *([_SIMULATED] if self._settings.demo else []),
            *([self.folder.note] if self.folder.note else []),
        )

    async def aclose(self) -> None:
        """Close the studio, if it was opened."""
        if "studio" in self.__dict__:
            await self.studio.aclose()


def _real(settings: Settings, folder: Path, registry: Registry) -> Studio:
    from vllm_image_mcp.nvml import gpu_beside  # noqa: PLC0415 - asks the driver

    configured = Gpu(
        name=settings.gpu_name,
        total_vram_gb=settings.gpu_vram_gb,
        source="configured (--gpu-name, --gpu-vram-gb)",
    )
    return Studio(
        settings.vllm_url,
        output_dir=folder,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        timeout=settings.timeout,
        max_concurrent=settings.max_concurrent,
        gpu=configured.over(gpu_beside(settings.vllm_url)),
        registry=registry,
    )


def _demo(settings: Settings, folder: Path, registry: Registry) -> Studio:
    from vllm_omni_client import AsyncOmniClient  # noqa: PLC0415 - slow to import
    from vllm_omni_client.simulator import SimulatorSettings, create_app  # noqa: PLC0415 - likewise

    simulator = SimulatorSettings()
    return Studio(
        AsyncOmniClient.in_process(create_app(simulator), timeout=settings.timeout),
        output_dir=folder,
        max_concurrent=settings.max_concurrent,
        registry=registry,
        metadata=Metadata(source="algorithmicMedia"),
        gpu=Gpu(
            name="Simulated GPU", total_vram_gb=simulator.vram_gib, source="the simulator; there is no card"
        ),
    )
