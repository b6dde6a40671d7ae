from dataclasses import replace

import pytest
from vllm_image_core.estimation.gpu import Gpu, report
from vllm_image_core.fleet.health import Health
from vllm_image_core.models.registry import Registry
from vllm_image_mcp.results.image_results import gpu_status, server_health
from vllm_omni_client.errors import ServerUnreachable

HEALTHY = Health(
    server_url="http://localhost:6655",
    status="healthy",
    model="black-forest-labs/FLUX.2-klein-4B",
    latency_seconds=0.0123,
    version="0.30.0",
)
KLEIN = Registry.builtin().find("black-forest-labs/FLUX.2-klein-4B").profile


def test_a_card_that_was_read_is_reported_with_its_reader_for_each_number() -> None:
    gpu = Gpu(name="RTX 5090", total_vram_gb=32.0, free_vram_gb=11.5, source="NVML, the GPU of this machine")
    status = gpu_status(HEALTHY, report(gpu, KLEIN, peak_memory_mb=14_321.0))
    assert status.model_dump(exclude={"sources"}) == {
        "gpu_name": "RTX 5090",
        "total_vram_gb": 32.0,
        "estimated_model_vram_gb": 16.0,
        "estimated_free_vram_gb": 16.0,
        "recommended_max_concurrent": 4,
        "server_url": "http://localhost:6655",
        "server_status": "healthy",
        "measured_free_vram_gb": 11.5,
        "peak_memory_mb": 14_321.0,
        "notes": [],
    }
    assert [status.sources[key] for key in ("gpu_name", "total_vram_gb", "measured_free_vram_gb")] == [
        "NVML, the GPU of this machine"
    ] * 3


def test_unknown_values_are_null_and_described_as_unknown() -> None:
    status = gpu_status(HEALTHY, report(Gpu(), KLEIN))
    unknown = {
        *("gpu_name", "total_vram_gb", "estimated_free_vram_gb", "measured_free_vram_gb", "peak_memory_mb"),
    }
    assert {key for key, value in status.model_dump().items() if value is None} == unknown
    assert {key for key, source in status.sources.items() if source.startswith("unknown")} == unknown
    assert status.recommended_max_concurrent == 1


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0123, 12), (0.0001, 1), (1.5, 1500), (None, None)])
def test_a_latency_is_in_whole_milliseconds_and_never_zero(
    seconds: float | None, milliseconds: int | None
) -> None:
    health = Health(server_url="http://gpu", status="healthy", model="klein", latency_seconds=seconds)
    assert server_health(health).latency_ms == milliseconds


def test_of_several_servers_each_is_reported_and_the_one_that_is_down_is_named() -> None:
    well = Health(server_url="http://one", status="healthy", model="klein", latency_seconds=0.01)
    down = Health(
        server_url="http://two", status="unreachable", error=ServerUnreachable("Connection refused.")
    )
    found = server_health(replace(well, server_url="http://one, http://two", servers=(well, down)))
    assert found.status == "healthy"
    assert found.message == (
        "1 of 2 servers cannot generate images: http://two (unreachable). "
        "The others still work; `servers` has the reasons."
    )
    assert [(each.server_url, each.status, each.model_loaded) for each in found.servers] == [
        ("http://one", "healthy", "klein"),
        ("http://two", "unreachable", None),
    ]
    assert found.servers[0].message is None
    assert "Cannot connect to vLLM server at http://two" in str(found.servers[1].message)


def test_several_healthy_servers_need_no_message() -> None:
    well = Health(server_url="http://one", status="healthy", model="klein")
    found = server_health(replace(well, servers=(well, replace(well, server_url="http://two"))))
    assert found.message is None
    assert [each.status for each in found.servers] == ["healthy", "healthy"]
