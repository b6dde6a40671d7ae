"""Read name and memory of this machine's GPU through NVIDIA's management library (NVML)."""

import ctypes
import importlib
import ipaddress
import logging
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

from vllm_image_core.estimation.gpu import Gpu

_logger = logging.getLogger(__name__)
_BYTES_PER_GB = 1024**3


def local_gpu(server_url: str, nvml: Any = None) -> Gpu | None:  # noqa: ANN401 - pynvml has no type stubs
    """Describe the first GPU of this machine if the server runs here and NVML works; None otherwise."""
    if not is_this_machine(server_url) or (nvml := nvml or nvml_for(server_url)) is None:
        return None
    try:
        nvml.nvmlInit()
        try:
            return _first_card(nvml)
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        _logger.info("NVML reports no GPU: %s", error)
        return None


def nvml_for(server_url: str) -> Any:  # noqa: ANN401 - as above
    """Import pynvml if the server runs here and NVIDIA's driver is installed; return None otherwise.

    Without the driver it could tell nothing, and importing it takes time and memory.
    """
    return importlib.import_module("pynvml") if is_this_machine(server_url) and _has_driver() else None


def _has_driver() -> bool:
    if sys.platform != "linux":  # pynvml knows where the driver's library is on Windows
        return sys.platform == "win32"
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def is_this_machine(url: str) -> bool:
    """Check whether a URL's host is a loopback address, 0.0.0.0, or this machine's own name."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in {"localhost", socket.gethostname().lower()}
    return address.is_loopback or address.is_unspecified


def _first_card(nvml: Any) -> Gpu | None:  # noqa: ANN401 - as above
    count: int = nvml.nvmlDeviceGetCount()
    if count == 0:
        return None
    card = nvml.nvmlDeviceGetHandleByIndex(0)
    memory = nvml.nvmlDeviceGetMemoryInfo(card)
    name: str | bytes = nvml.nvmlDeviceGetName(card)
    which = "the GPU of this machine" if count == 1 else f"the first of {count} GPUs of this machine"
    return Gpu(
        name=name.decode() if isinstance(name, bytes) else name,
        total_vram_gb=round(memory.total / _BYTES_PER_GB, 1),
        free_vram_gb=round(memory.free / _BYTES_PER_GB, 1),
        source=f"NVML, {which}",
    )
