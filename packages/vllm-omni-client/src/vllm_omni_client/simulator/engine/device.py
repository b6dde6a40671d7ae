"""Check a request's noise device as PyTorch does on a server with or without a CUDA card."""

import re
from typing import Final

from vllm_omni_client.simulator.engine.model_rules import WorkerError

_KINDS: Final = (
    *("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla"),
    *("lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone"),
)  # PyTorch 2.13
# A device type and an optional index, as PyTorch parses them (c10/core/Device.cpp).
_DEVICE: Final = re.compile(r"(?P<kind>[A-Za-z_]+)(:(?P<index>0|[1-9][0-9]*))?")
_LARGEST_INDEX: Final = 2**31 - 1
_WITHOUT_GENERATOR: Final = "Backend doesn`t support getNewGenerator()"
_ABSENT: Final = {
    "cuda": "Cannot get CUDA generator without ATen_cuda library. PyTorch splits its backend into two shared "
    "libraries: a CPU library and a CUDA library; this error has occurred because you are trying to use some "
    "CUDA functionality, but the CUDA library has not been loaded by the dynamic linker for some reason.  "
    "The CUDA library MUST be loaded, EVEN IF you don't directly use any symbols from the CUDA library! One "
    "common culprit is a lack of -Wl,--no-as-needed in your link arguments; many dynamic linkers will delete "
    "dynamic library dependencies if you don't depend on any of their symbols.  You can check if this has "
    "occurred by using ldd on your binary to see if there is a dependency on *_cuda.so library.",
    "hip": _WITHOUT_GENERATOR,
    "hpu": _WITHOUT_GENERATOR,
    "mps": "Cannot execute getNewGenerator() without MPS backend.",
    "mtia": "Cannot execute getNewGenerator() without MTIA backend.",
    "privateuseone": "Please register PrivateUse1HooksInterface by "
    "`RegisterPrivateUse1HooksInterface` first.",
    "xla": "Cannot get XLA generator without torch_xla library. This error has occurred because you are "
    "trying to use some XLA functionality, but the XLA library has not been loaded by the dynamic linker. "
    "You must load xla libraries by `import torch_xla`",
    "xpu": "Cannot get XPU generator without ATen_xpu library.",
}


def check_device(device: str, *, has_gpu: bool = True) -> None:
    """Check that PyTorch can generate noise on a device with this name, such as "cpu" or "cuda:0".

    Args:
        device: The device's name.
        has_gpu: Whether the server has a CUDA card.

    Raises:
        WorkerError: It cannot; the message is PyTorch's.
    """
    if not device:
        raise WorkerError("Device string must not be empty")
    try:
        device.encode()
    except UnicodeEncodeError as error:
        raise WorkerError("error unpacking string as utf-8") from error
    named = _DEVICE.fullmatch(device)
    if named is None:
        shown, zero, _ = device.partition("\0")  # the message ends at a zero byte, without its closing quote
        raise WorkerError(f"Invalid device string: '{shown}" + ("" if zero else "'"))
    kind, index = named["kind"], named["index"]
    if kind not in _KINDS:
        raise WorkerError(
            f"Expected one of {', '.join(_KINDS)} device type at start of device string: {kind}"
        )
    if index is not None and int(index) > _LARGEST_INDEX:
        raise WorkerError(f"Could not parse device index '{index}' in device string '{device}'")
    if kind != "cpu" and not (kind == "cuda" and has_gpu):
        raise WorkerError(_ABSENT.get(kind, f"{kind.upper()} device type not an accelerator."))
