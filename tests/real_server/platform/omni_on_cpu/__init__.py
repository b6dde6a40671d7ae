"""vLLM-Omni on a CPU, for contract tests: the two names that its entry points ask for."""


def omni_platform() -> str:
    """The class that vLLM-Omni is to take for its platform."""
    return "omni_on_cpu.platform.CpuPlatform"


def vllm_platform() -> str:
    """vLLM's own CPU platform, which a build without kernels does not find by itself."""
    return "vllm.platforms.cpu.CpuPlatform"
