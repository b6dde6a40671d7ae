"""Fixtures that the tests of the core share."""

import asyncio
import base64
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from vllm_image_core.imaging.picture import Picture, write_text
from vllm_image_core.studio import Studio
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import BadRequest, OmniError
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList

KLEIN = "black-forest-labs/FLUX.2-klein-4B"


class BatchServer:
    """A backend in this process that answers at once, unless a test makes it wait or fail.

    Attributes:
        sent: The prompts of all generations and edits, as they came.
        edits: The edits among them, with the bytes of their images, by role.
        asked: How often its health was asked.
        healthy: What it answers then.
        fails: The error of a prompt, or None; called with the prompt and how often it was sent before.
        gate: Generations wait until it is open.
        most_at_once: How many generations were under way at the same time.
        company_seconds: How long each generation waits for another one beside it.
    """

    base_url = "http://gpu:6655"

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.edits: list[tuple[ImageEditRequest, Mapping[str, tuple[bytes | None, ...]]]] = []
        self.asked = 0
        self.healthy = True
        self.fails: Callable[[str, int], OmniError | None] = lambda _prompt, _times: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0
        self.company_seconds = 0.0
        self.seeds: dict[str, list[int | None]] = {}
        self._news = asyncio.Event()
        file = io.BytesIO()
        Image.radial_gradient("L").crop((32, 32, 96, 96)).convert("RGB").save(file, "PNG")
        self._content = base64.b64encode(file.getvalue()).decode()

    def studio(self, folder: Path, *, stale_seconds: float = 15.0, outage_timeout: float = 600.0) -> Studio:
        """A studio on this server that probes often during an outage, and often renews its leases."""
        studio = Studio(self, output_dir=folder, outage_timeout=outage_timeout)
        studio._batches._context = replace(
            studio._batches._context,
            probe_seconds=0.02,
            folder_check_seconds=0.02,
            heartbeat_seconds=0.2,
            stale_seconds=stale_seconds,
        )
        return studio

    async def came(self, count: int) -> None:
        """Wait until this many generations have arrived."""
        while len(self.sent) < count:
            self._news.clear()
            await self._news.wait()

    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: Sequence[bytes],
        *,
        mask_image: bytes | None = None,
        reference_image: bytes | None = None,
    ) -> ImageGenerationReply:
        pictures = {"image": tuple(image), "mask": (mask_image,), "reference_image": (reference_image,)}
        self.edits.append((request, pictures))
        return await self._answered(request)

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        return await self._answered(request)

    async def _answered(self, request: ImageGenerationRequest | ImageEditRequest) -> ImageGenerationReply:
        times = self.sent.count(request.prompt)
        self.sent.append(request.prompt)
        self.seeds.setdefault(request.prompt, []).append(request.seed)
        self._news.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            if self.company_seconds:
                await self._wait_for_company(len(self.sent))
            if request.model != KLEIN:
                raise BadRequest("Model mismatch", status=400)
            if error := self.fails(request.prompt, times):
                raise error
        finally:
            self.at_once -= 1
        return ImageGenerationReply.model_validate({"data": [{"b64_json": self._content}]})

    async def _wait_for_company(self, count: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.company_seconds):
                await self.came(count + 1)

    async def get_models(self) -> ModelList:
        return ModelList.model_validate({"data": [{"id": KLEIN, "root": KLEIN}]})

    async def health_check(self) -> bool:
        self.asked += 1
        return self.healthy

    async def get_version(self) -> str:
        return "0.30.0"

    async def get_metrics(self) -> ServerMetrics:
        return ServerMetrics()

    async def aclose(self) -> None:
        pass


@pytest.fixture
def batch_server() -> BatchServer:
    return BatchServer()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def small_picture() -> Picture:
    """A PNG of 16x12 pixels."""
    file = io.BytesIO()
    Image.frombytes("RGB", (16, 12), os.urandom(3 * 16 * 12)).save(file, "PNG")
    return Picture.check(file.getvalue())


@pytest.fixture
def put(small_picture: Picture) -> Callable[..., Path]:
    """Write an image whose file tells these facts, as another process would."""

    def put(path: Path, **facts: object) -> Path:
        path.write_bytes(write_text(small_picture, {"vllm-image": json.dumps(facts)}).bytes)
        return path

    return put
