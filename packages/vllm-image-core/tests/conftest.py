"""Fixtures that the tests of the core share."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from vllm_image_core.picture import Picture, with_text


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
    """Write a picture whose file tells these facts, as another process would."""

    def put(path: Path, **facts: object) -> Path:
        path.write_bytes(with_text(small_picture, {"vllm-image": json.dumps(facts)}).bytes)
        return path

    return put
