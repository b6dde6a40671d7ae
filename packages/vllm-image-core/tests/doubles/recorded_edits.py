"""Edits in a batch, and the copies of their images."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.input_store import inputs_folder

if TYPE_CHECKING:
    from conftest import BatchServer

SIZE = (64, 64)


def png(colour: str, size: tuple[int, int] = SIZE) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


FOX, OWL, MASK = png("#cc6600"), png("#665544"), png("#ffffff")


def edit(prompt: str = "night", **values: object) -> EditRequest:
    return EditRequest(**{"prompt": prompt, "images": FOX, "seed": 7, **values})  # type: ignore[arg-type]  # by name


def copies(folder: Path) -> dict[str, bytes]:
    """Everything in the folder of the copies, by name."""
    return {path.name: path.read_bytes() for path in inputs_folder(folder).iterdir()}


async def interrupted(server: "BatchServer", folder: Path, *requests: ImageRequest) -> str:
    """A recorded batch whose process ended before any image was generated."""
    server.gate.clear()
    async with server.studio(folder) as studio:
        batch = await studio.batch(requests)
    server.gate.set()
    server.edits.clear()
    server.sent.clear()
    return batch.id
