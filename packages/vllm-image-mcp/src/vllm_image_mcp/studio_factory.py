"""Create the studio from the settings: for real servers, or for the simulator in this process."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from vllm_image_core.batches.limits import NO_LIMITS, Limits
from vllm_image_core.connection import ConnectionSettings, connect
from vllm_image_core.datasets.image_generator import GeneratorSettings
from vllm_image_core.estimation.gpu import Gpu
from vllm_image_core.estimation.service_times import ServiceTimes
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.models.registry import Registry
from vllm_image_core.models.served import choose_model
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.storage.grouped_writes import GROUP_SECONDS
from vllm_image_core.studio import Studio
from vllm_omni_client import AsyncOmniClient

from vllm_image_mcp.nvml import local_gpu
from vllm_image_mcp.settings import Settings

_METADATA: Final = {
    "all": Metadata(),
    "public": Metadata(prompts=False, server=False),
    "none": Metadata(json=False, parameters=False),
}
"""The metadata for each value of `--metadata`; every file says that it was generated."""

_QUESTION_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 4.0
_RETRIES: Final = 2
"""Retries on the only server; several take over from each other instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedServers:
    """The servers that the studios of several users share, and what is known about their speed."""

    fleet: Fleet
    service_times: ServiceTimes

    def of_user(self, name: str, *, share: float) -> "SharedServers":
        """Return the same for one user, whose calls wait for their fair turn."""
        return replace(self, fleet=self.fleet.shared_by(name, share=share))


def create_studio(
    settings: Settings,
    folder: Path,
    registry: Registry,
    *,
    shared: SharedServers | None = None,
    limits: Limits | None = None,
) -> Studio:
    """Create a studio that saves images in a folder, on servers of its own or on a fleet that exists."""
    limits = limits or NO_LIMITS
    if settings.demo:
        return _demo(settings, folder, registry, shared, limits)
    [first, *others] = settings.vllm_urls
    return Studio(
        shared.fleet if shared else [first, *others] if others else first,
        output_dir=folder,
        styles_dir=settings.styles_folder,
        api_key=settings.key,
        headers=dict(settings.header or ()),
        verify=settings.ca_file or True,
        proxy=settings.chosen_proxy,
        model=settings.model,
        assume_edits=settings.assume_edits,
        timeout=settings.timeout,
        max_concurrent=settings.max_concurrent,
        gpu=gpu_of(settings),
        registry=registry,
        metadata=_METADATA[settings.metadata],
        limits=limits,
        service_times=shared and shared.service_times,
    )


def create_shared_servers(settings: Settings, folder: Path, registry: Registry) -> SharedServers:
    """Create the servers that the studios of several users share; their speed is stored in a folder."""
    service_times = ServiceTimes.of_folder(folder, group_seconds=GROUP_SECONDS)
    urls = settings.vllm_urls
    connection: ConnectionSettings = {
        **_connection(settings),
        "max_retries": _RETRIES if len(urls) == 1 else 0,
    }
    fleet = Fleet(
        [_simulated(settings)] if settings.demo else [connect(url, **connection) for url in urls],
        learned=service_times.seconds_per_cost,
        ceiling=settings.max_concurrent,
        choose=lambda models: choose_model(models, registry, settings.model),
    )
    return SharedServers(fleet=fleet, service_times=service_times)


def dataset_servers(settings: Settings) -> list[str | Backend]:
    """Return the servers of a dataset: their URLs, or the demo's own server."""
    return [_simulated(settings)] if settings.demo else list(settings.vllm_urls)


def dataset_settings(settings: Settings, registry: Registry) -> GeneratorSettings:
    """Return the settings that a dataset uses, besides its servers."""
    return {
        "model": settings.model,
        "registry": registry,
        "metadata": _METADATA[settings.metadata],
        "connection": _connection(settings),
    }


def _connection(settings: Settings) -> ConnectionSettings:
    return {
        "api_key": settings.key,
        "headers": dict(settings.header or ()),
        "verify": settings.ca_file or True,
        "proxy": settings.chosen_proxy,
        "timeout": settings.timeout,
    }


def gpu_of(settings: Settings) -> Gpu:
    """Describe the GPU of the servers, as configured or as the driver of this machine reports it."""
    configured = Gpu(
        name=settings.gpu_name,
        total_vram_gb=settings.gpu_vram_gb,
        source="configured (--gpu-name, --gpu-vram-gb)",
    )
    [first, *others] = settings.vllm_urls
    return configured.completed_by(None if others else local_gpu(first))


def create_diagnostic_client(settings: Settings, url: str, *, with_secrets: bool) -> AsyncOmniClient:
    """Create a client for diagnosis: it only asks questions, gives up soon, and retries nothing."""
    if settings.demo:
        from vllm_omni_client.simulator import SimulatorSettings, create_app  # noqa: PLC0415 - only for the demo

        return AsyncOmniClient.in_process(create_app(SimulatorSettings()))
    return AsyncOmniClient(
        url,
        api_key=settings.key if with_secrets else None,
        headers=dict(settings.header or ()) if with_secrets else None,
        verify=settings.ca_file or True,
        proxy=settings.chosen_proxy,
        timeout=_QUESTION_SECONDS,
        connect_timeout=_CONNECT_SECONDS,
        max_retries=0,
    )


def _simulated(settings: Settings) -> AsyncOmniClient:
    from vllm_omni_client.simulator import SimulatorSettings, create_app  # noqa: PLC0415 - only for the demo

    return AsyncOmniClient.in_process(create_app(SimulatorSettings()), timeout=settings.timeout)


def _demo(
    settings: Settings, folder: Path, registry: Registry, shared: SharedServers | None, limits: Limits
) -> Studio:
    from vllm_omni_client.simulator import SimulatorSettings  # noqa: PLC0415 - likewise

    return Studio(
        shared.fleet if shared else _simulated(settings),
        output_dir=folder,
        styles_dir=settings.styles_folder,
        max_concurrent=settings.max_concurrent,
        registry=registry,
        metadata=replace(_METADATA[settings.metadata], source="algorithmicMedia"),
        gpu=Gpu(
            name="Simulated GPU",
            total_vram_gb=SimulatorSettings().vram_gib,
            source="the simulator; there is no real GPU",
        ),
        limits=limits,
        service_times=shared and shared.service_times,
    )
