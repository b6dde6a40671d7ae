"""List all tools in the order in which hosts show them, with their annotations and titles."""

from mcp.types import ToolAnnotations

from vllm_image_mcp.tools.batch import batch_generate, cancel_batch, get_batch, list_batches
from vllm_image_mcp.tools.edit import edit_image
from vllm_image_mcp.tools.generate import generate_image
from vllm_image_mcp.tools.history import find_images
from vllm_image_mcp.tools.info import (
    estimate_generation,
    get_model_info,
    gpu_status,
    list_presets,
    server_health,
)
from vllm_image_mcp.tools.rating import rate_images


def _annotations(
    *, reads: bool = False, destroys: bool | None = None, repeats: bool | None = None
) -> ToolAnnotations:
    """A tool's annotations; no tool reaches beyond the configured servers and the output folder."""
    return ToolAnnotations(
        read_only_hint=reads, destructive_hint=destroys, idempotent_hint=repeats, open_world_hint=False
    )


_READS = _annotations(reads=True)

TOOLS = (
    (generate_image, "Generate an image", _annotations(destroys=False, repeats=True)),
    (batch_generate, "Generate several images", _annotations(destroys=False, repeats=False)),
    (edit_image, "Edit an image", _annotations(destroys=False, repeats=False)),
    (get_model_info, "Show the loaded model", _READS),
    (gpu_status, "Show GPU memory", _READS),
    (list_presets, "List image sizes", _READS),
    (server_health, "Check the image server", _READS),
    (estimate_generation, "Estimate time and memory", _READS),
    (cancel_batch, "Cancel a batch", _annotations(destroys=True)),
    (get_batch, "Check on a batch", _annotations(destroys=False)),
    (list_batches, "List batches", _READS),
    (find_images, "Find earlier images", _READS),
    (rate_images, "Keep, reject or export images", _annotations(destroys=False, repeats=True)),
)
"""Every tool with the title that hosts show to people, in the order in which hosts list them."""
