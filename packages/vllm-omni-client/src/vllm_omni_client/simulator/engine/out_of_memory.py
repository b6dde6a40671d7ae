"""Fail requests that do not fit into GPU memory, with PyTorch's out-of-memory message."""

from vllm_omni_client.simulator.engine.model_rules import ModelRules, WorkerError

_MAX_IMAGES = 10_000
"""Limit on the images of one request: more than fit on any GPU, and few enough to count through here."""


def check_memory(rules: ModelRules, *, pixels: int, gpu_gib: float | None) -> None:
    """Check that images with this many pixels in total fit into GPU memory.

    Args:
        rules: The model's rules, which say how much memory it takes.
        pixels: The pixels of all images that are generated together.
        gpu_gib: GPU memory in GiB; None: unlimited; 0: there is no GPU.

    Raises:
        WorkerError: They do not fit.
    """
    if gpu_gib and rules.gib(pixels=pixels) > gpu_gib:
        raise WorkerError(_message(rules, pixels=pixels, gpu_gib=gpu_gib))


def check_image_count(n: int) -> None:
    """Check that a request for `n` images is small enough to be laid out at all.

    Raises:
        WorkerError: No GPU has room for that many.
    """
    if n > _MAX_IMAGES:
        raise WorkerError(f"CUDA out of memory. There is no room for {n} images.")


def _message(rules: ModelRules, *, pixels: int, gpu_gib: float) -> str:
    """Word the error as PyTorch does for an allocation that does not fit."""
    resident = rules.family.resident_gib
    free = max(0.0, gpu_gib - resident)
    return (
        f"CUDA out of memory. Tried to allocate {rules.activation_gib(pixels=pixels):.2f} GiB. "
        f"GPU 0 has a total capacity of {gpu_gib:.2f} GiB of which {free:.2f} GiB is free. "
        f"Including non-PyTorch memory, this process has {min(resident, gpu_gib):.2f} GiB memory in use. "
        f"Of the allocated memory {min(resident, gpu_gib):.2f} GiB is allocated by PyTorch, and 0.00 GiB is "
        "reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
        "PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
    )
