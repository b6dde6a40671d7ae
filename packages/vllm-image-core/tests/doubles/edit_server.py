"""A server in this process that edits images."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import BadRequest
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList

KLEIN = "black-forest-labs/FLUX.2-klein-4B"


def png(size: tuple[int, int] = (128, 96), colour: str = "#336699") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@dataclass
class Server:
    """A backend in this process that edits by answering with a colour that follows from the seed."""

    model: str = KLEIN
    pictures: int = 1
    edits: list[tuple[ImageEditRequest, tuple[bytes, ...], bytes | None, bytes | None]] = field(
        default_factory=list[tuple[ImageEditRequest, tuple[bytes, ...], bytes | None, bytes | None]]
    )
    base_url: str = "http://gpu:6655"

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        return self._reply(request.size, request.seed)

    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: Sequence[bytes],
        *,
        mask_image: bytes | None = None,
        reference_image: bytes | None = None,
    ) -> ImageGenerationReply:
        if request.model != self.model:
            raise BadRequest("Model mismatch", status=400)
        self.edits.append((request, tuple(image), mask_image, reference_image))
        return self._reply(request.size, request.seed)

    def _reply(self, size: str | None, seed: int | None) -> ImageGenerationReply:
        width, height = map(int, (size or "736x544").split("x"))
        colours = [f"#{((seed or 0) * 7 + place) % 2**24:06x}" for place in range(self.pictures)]
        data = [{"b64_json": base64.b64encode(png((width, height), colour)).decode()} for colour in colours]
        return ImageGenerationReply.model_validate({"data": data})

    async def get_models(self) -> ModelList:
        return ModelList.model_validate({"data": [{"id": self.model, "root": self.model}]})

    async def health_check(self) -> bool:
        return True

    async def get_version(self) -> str:
        return "0.30.0"

    async def get_metrics(self) -> ServerMetrics:
        return ServerMetrics()

    async def aclose(self) -> None:
        pass


def recipe_of(image: GeneratedImage) -> dict[str, object]:
    return json.loads(read_text(image.path.read_bytes())["vllm-image"])
