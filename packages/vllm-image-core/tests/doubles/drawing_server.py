"""A server in this process that draws images, and a studio on it."""

import asyncio
import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image
from vllm_image_core.studio import Studio
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import BadRequest, ServerUnreachable
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList

KLEIN = "black-forest-labs/FLUX.2-klein-4B"
QWEN = "Qwen/Qwen-Image"
NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)


def png(request: ImageGenerationRequest) -> bytes:
    """An image of the size that was asked for, in a colour that follows from the seed."""
    width, height = map(int, (request.size or "64x64").split("x"))
    file = io.BytesIO()
    Image.new("RGB", (width, height), f"#{(request.seed or 0) % 2**24:06x}").save(file, "PNG")
    return file.getvalue()


def encoded(kind: str) -> bytes:
    """An image of 64x64 that is not one colour all over."""
    file = io.BytesIO()
    Image.radial_gradient("L").crop((32, 32, 96, 96)).convert("RGB").save(file, kind)
    return file.getvalue()


@dataclass
class Server:
    """A backend in this process that answers at once unless a test says otherwise."""

    model: str = KLEIN
    draw: Callable[[ImageGenerationRequest], bytes] = png
    requests: list[ImageGenerationRequest] = field(default_factory=list[ImageGenerationRequest])
    gate: asyncio.Event | None = None
    base_url: str = "http://gpu:6655"
    closed: bool = False

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        self.requests.append(request)
        if request.model != self.model:
            raise BadRequest("Model mismatch", status=400)
        if self.gate:
            await self.gate.wait()
        return ImageGenerationReply.model_validate(
            {"data": [{"b64_json": base64.b64encode(self.draw(request)).decode()}]}
        )

    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: Sequence[bytes],
        *,
        mask_image: bytes | None = None,
        reference_image: bytes | None = None,
    ) -> ImageGenerationReply:
        raise NotImplementedError

    async def get_models(self) -> ModelList:
        return ModelList.model_validate({"data": [{"id": self.model, "root": self.model}]})

    async def health_check(self) -> bool:
        return True

    async def get_version(self) -> str:
        return "0.30.0"

    async def get_metrics(self) -> ServerMetrics:
        return ServerMetrics(peak_memory_mb=14_321.0)

    async def aclose(self) -> None:
        self.closed = True


class DownServer(Server):
    """A backend that cannot be reached."""

    async def get_models(self) -> ModelList:
        raise ServerUnreachable("http://gpu:6655 cannot be reached: refused", reason="refused")

    async def health_check(self) -> bool:
        raise ServerUnreachable("http://gpu:6655 cannot be reached: refused", reason="refused")


def studio_of(server: Server, folder: Path, **options: object) -> Studio:
    return Studio(server, output_dir=folder, now=lambda: NOON, draw_seed=lambda: 42, **options)  # type: ignore[arg-type]  # a test's options
