"""The graphics card of this machine, read through NVIDIA's management library."""

import ipaddress
import logging
import socket
from urllib.parse import urlsplit

from vllm_image_core.gpu import Gpu

__all__ = ["gpu_beside", "is_this_machine"]

_logger = logging.getLogger(__name__)
_BYTES_PER_GB = 1024**3


def gpu_beside(server_url: str) -> Gpu | None:
    """The first card of this machine, if the server runs here and NVML can be asked; None otherwise."""
    return _first_gpu() if is_this_machine(server_url) else None


def is_this_machine(url: str) -> bool:
    """Whether a URL's host is a loopback address or this machine's own name."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.lower() == socket.gethostname().lower()


def _first_gpu() -> Gpu | None:
    import pynvml  # noqa: PLC0415 - only where a server runs on this machine

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        _logger.info("No card is known through NVML: %s", error)
        return None
    try:
        return _read(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        _logger.info("NVML did not describe the card: %s", error)
        return None
    finally:
        pynvml.nvmlShutdown()


def _read(count: int) -> Gpu | None:
    import pynvml  # noqa: PLC0415 - only where a server runs on this machine

    if count == 0:
        return None
    card = pynvml.nvmlDeviceGetHandleByIndex(0)
    memory = pynvml.nvmlDeviceGetMemoryInfo(card)
    which = "the card of this machine" if count == 1 else f"the first of {count} cards of this machine"
    return Gpu(
        name=str(pynvml.nvmlDeviceGetName(card)),
        total_vram_gb=round(int(memory.total) / _BYTES_PER_GB, 1),
        free_vram_gb=round(int(memory.free) / _BYTES_PER_GB, 1),
        source=f"NVML, {which}",
    )
