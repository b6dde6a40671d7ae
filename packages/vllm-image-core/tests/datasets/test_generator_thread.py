"""All threads of a process share one generator."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from vllm_image_core.datasets.generator_thread import GeneratorThread
from vllm_image_core.datasets.image_generator import GeneratorSpec

if TYPE_CHECKING:
    from conftest import BatchServer

pytest.importorskip("obstore")
pytest.importorskip("pyarrow")


def test_any_event_loop_can_use_it(batch_server: "BatchServer", tmp_path: Path) -> None:
    with patch("vllm_image_core.datasets.image_generator.connect", return_value=batch_server):
        thread = GeneratorThread(GeneratorSpec(["http://gpu:6655"], str(tmp_path), {}))
        for prompt in ("a fox", "a bear", "a fox"):
            [row] = asyncio.run(thread.generate([{"prompt": prompt}]))
            assert row is not None
            assert row.status in {"done", "reused"}
        thread.close()

    assert batch_server.sent == ["a fox", "a bear"]
