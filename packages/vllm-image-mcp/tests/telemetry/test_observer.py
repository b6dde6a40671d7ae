"""Calls and images become spans of OpenTelemetry, without prompts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from vllm_image_core.errors import UnknownBatch
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.telemetry.metrics import Metrics
from vllm_image_mcp.telemetry.observer import Observer


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


async def test_a_call_and_its_image_are_spans(exported: InMemorySpanExporter, tmp_path: Path) -> None:
    observer = Observer(Metrics(), "anna")
    server = build_server(Settings.from_arguments(demo=True, output_dir=tmp_path), observer=observer)
    async with Client(server) as client:
        result = await client.call_tool(
            "generate_image", {"prompt": "a secret lighthouse", "seed": 7, "width": 64, "height": 48}
        )
    assert not result.is_error
    [call] = named(exported, "vllm_image generate_image")
    [image] = named(exported, "vllm_image image")
    assert call.attributes is not None
    assert image.attributes is not None
    assert call.attributes["enduser.id"] == image.attributes["enduser.id"] == "anna"
    assert (image.attributes["vllm_image.width"], image.attributes["vllm_image.height"]) == (64, 48)
    assert image.attributes["vllm_image.seed"] == "7"
    assert image.attributes["vllm_image.reused"] is False
    gpu_seconds = image.attributes["vllm_image.gpu_seconds"]
    assert isinstance(gpu_seconds, float)
    assert gpu_seconds > 0
    assert not any("lighthouse" in span.to_json() for span in exported.get_finished_spans())


def test_an_error_is_the_status_of_its_span(exported: InMemorySpanExporter) -> None:
    observer = Observer(Metrics(), "")
    with pytest.raises(UnknownBatch), observer.call("get_batch"):
        raise UnknownBatch("no such batch")
    observer.record_failure(UnknownBatch("no such batch"), batch_id="b-1")
    [call], [image] = named(exported, "vllm_image get_batch"), named(exported, "vllm_image image")
    assert call.status.status_code is image.status.status_code is StatusCode.ERROR
    assert image.attributes is not None
    assert image.attributes["error.type"] == "UnknownBatch"
