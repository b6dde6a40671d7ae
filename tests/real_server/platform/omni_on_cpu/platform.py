"""The CPU as a platform of vLLM-Omni: one device, whose memory is the machine's."""

import psutil
import torch
from vllm.platforms.cpu import CpuPlatform as VllmCpuPlatform
from vllm_omni.platforms.interface import OmniPlatform, OmniPlatformEnum


def _nothing(cls, *args, **kwargs) -> None:
    """What a GPU would do and a CPU need not."""


def _resident(cls, device=None) -> int:
    """Bytes of this process; what stands for the GPU memory in use."""
    return psutil.Process().memory_info().rss


class CpuPlatform(OmniPlatform, VllmCpuPlatform):
    _omni_enum = OmniPlatformEnum.OOT
    device_type = "cpu"

    set_device = synchronize = empty_cache = reset_peak_memory_stats = classmethod(_nothing)
    get_device_version = classmethod(_nothing)
    memory_allocated = memory_reserved = classmethod(_resident)
    max_memory_allocated = max_memory_reserved = classmethod(_resident)

    def is_cpu(self) -> bool:
        return True

    def is_out_of_tree(self) -> bool:
        return True

    @classmethod
    def get_default_stage_config_path(cls) -> str:
        return "vllm_omni/deploy"

    @classmethod
    def get_diffusion_attn_backend_cls(cls, *args, **kwargs) -> str:
        return "omni_on_cpu.attention.Backend"

    @classmethod
    def supports_diffusion_dense_flash_attention(cls) -> bool:
        return False

    @classmethod
    def supports_torch_inductor(cls) -> bool:
        return False

    @classmethod
    def supports_cpu_offload(cls) -> bool:
        return False

    @classmethod
    def get_torch_device(cls, local_rank=None) -> torch.device:
        return torch.device("cpu")

    @classmethod
    def get_device_count(cls) -> int:
        return 1

    device_count = get_device_count

    @classmethod
    def get_device_name(cls, device_id: int = 0) -> str:
        return "cpu"

    @classmethod
    def get_device_total_memory(cls, device_id: int = 0) -> int:
        return psutil.virtual_memory().total

    @classmethod
    def get_free_memory(cls, device=None) -> int:
        return psutil.virtual_memory().available

    @classmethod
    def get_device_memory(cls, device=None) -> tuple[int, int]:
        return cls.get_free_memory(device), cls.get_device_total_memory()

    mem_get_info = get_device_memory
