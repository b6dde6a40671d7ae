"""Build the replies of the OpenAI images API, with the receipt of each image."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse
from vllm_image_core.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vllm_image_core.models.served import ServedModel

    from vllm_image_mcp.jobs.batch_monitor import BatchMonitor, MonitoredImage
    from vllm_image_mcp.openai_api.request_body import ImageBody
    from vllm_image_mcp.openai_api.translation import Translation

RECEIPT_HEADER: Final = "x-vllm-image-receipt"
BATCH_HEADER: Final = "x-vllm-image-batch"

_LONGEST_HEADER: Final = 4_000
"""Longest receipt in a header, in characters: proxies allow 8 KB for all headers together."""


async def images_reply(
    monitor: BatchMonitor, translation: Translation, body: ImageBody, link: Callable[[str], str]
) -> JSONResponse:
    """Return the images of a batch, and a list of those that failed.

    Args:
        monitor: The batch, which is over and has at least one image.
        translation: How its request was translated.
        body: The request.
        link: Returns a URL for the name of an image file.
    """
    saved = [monitor.saved[index] for index in sorted(monitor.saved)]
    data = [await _image(image, body, translation, link) for image in saved]
    first = saved[0].result.parameters_used
    reply: dict[str, object] = {
        "created": int(time.time()),
        "data": data,
        "output_format": body.output_format or "png",
        "quality": body.quality or "auto",
        "size": f"{first.width}x{first.height}" if first else None,
        "background": body.background or "opaque",
        "batch_id": monitor.batch.id,
    }
    if monitor.errors:
        reply["errors"] = [
            {"index": index, "message": str(error)} for index, error in sorted(monitor.errors.items())
        ]
    headers = {BATCH_HEADER: monitor.batch.id, RECEIPT_HEADER: _header([_summary(image) for image in saved])}
    return JSONResponse(reply, headers=headers)


def models_reply(model: ServedModel) -> dict[str, object]:
    """Return the list of models: the loaded one."""
    return {"object": "list", "data": [model_reply(model)]}


def model_reply(model: ServedModel) -> dict[str, object]:
    """Return the loaded model."""
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "vllm-omni"}


async def _image(
    image: MonitoredImage, body: ImageBody, translation: Translation, link: Callable[[str], str]
) -> dict[str, object]:
    path = Path(image.result.file_path or "")
    used = image.result.parameters_used
    reply: dict[str, object] = {}
    if body.response_format != "url":
        content = await asyncio.to_thread(path.read_bytes)
        reply["b64_json"] = base64.b64encode(content).decode("ascii")
    if body.response_format != "b64_json":
        reply["url"] = link(path.name)
    if used is not None and body.style is not None:
        reply["revised_prompt"] = used.prompt
    reply |= {
        "seed": used and used.seed,
        "model": used and used.model,
        "file": path.name,
        "reused": image.result.reused,
        "receipt": image.receipt,
        "notes": [*translation.changes, *image.notes],
    }
    return reply


def _summary(image: MonitoredImage) -> Mapping[str, object]:
    used, result = image.result.parameters_used, image.result
    if used is None:
        return {}
    return {
        "file": Path(result.file_path or "").name,
        "model": one_line(used.model),
        "seed": used.seed,
        "size": f"{used.width}x{used.height}",
        "steps": used.steps,
        "guidance_scale": used.guidance_scale,
        "seconds": result.generation_time_seconds,
        "reused": result.reused,
        "changed": [change.parameter for change in result.receipt],
    }


def _header(summaries: list[Mapping[str, object]]) -> str:
    """Write the receipts as JSON in ASCII; if that is too long for a header, those of the first images."""
    while len(text := json.dumps(summaries, separators=(",", ":"))) > _LONGEST_HEADER:
        summaries = summaries[:-1]
    return text
