"""The families of /metrics, as vLLM-Omni 0.30.0 shows them."""

import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from vllm_omni_client.simulator import SimulatorSettings, create_app

SMALL = {"prompt": "a red fox", "size": "64x64", "num_inference_steps": 1, "seed": 7}


async def pages(*requests: Mapping[str, object]) -> list[str]:
    """The page at the start, and after each request."""
    transport = httpx.ASGITransport(create_app(SimulatorSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
        found = [(await http.get("/metrics")).text]
        for request in requests:
            await http.post("/v1/images/generations", json=request)
            found.append((await http.get("/metrics")).text)
    return found


def families(page: str) -> list[str]:
    return re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)


async def test_the_families_are_in_the_order_of_the_server() -> None:
    [page] = await pages()
    names = [name for name in families(page) if not name.startswith(("process_", "http_"))]
    assert names[:5] == [
        "python_gc_objects_collected_total",
        "python_gc_objects_uncollectable_total",
        "python_gc_collections_total",
        "python_info",
        "vllm_omni:num_requests_running",
    ]
    assert names[-6:] == [
        "vllm_omni:image_ttfp_s",
        "vllm_omni:denoise_step_latency_s",
        "vllm_omni:transfer_size_bytes",
        "vllm_omni:transfer_tx_s",
        "vllm_omni:transfer_rx_s",
        "vllm_omni:transfer_in_flight_s",
    ]
    assert {"vllm_omni:kv_wait_s", "vllm_omni:audio_rtf", "vllm_omni:speech_stream_aborted_total"} < set(
        names
    )


async def test_a_family_without_values_shows_only_its_head() -> None:
    before, after = await pages(SMALL)
    for name in ("stage_gen_time_s", "diffusion_exec_s", "stage_in_queue_s", "image_ttfp_s"):
        assert f"# TYPE vllm_omni:{name} histogram" in before
        assert f"vllm_omni:{name}_created" not in families(before)
        assert f"vllm_omni:{name}_created" in families(after)
    assert "\nvllm_omni:stage_waiting_requests{" not in before
    assert "\nvllm_omni:stage_waiting_requests{" in after


async def test_failure_metrics_have_a_start_time_only_once_there_is_a_failure() -> None:
    before, after = await pages(SMALL | {"generator_device": "abacus"})
    assert ["vllm_omni:requests_failed_created" in families(page) for page in (before, after)] == [
        False,
        True,
    ]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
async def test_process_metrics_are_reported_if_the_system_provides_them() -> None:
    [page] = await pages()
    values = dict(re.findall(r"^process_(\w+) (\S+)$", page, re.MULTILINE))
    assert set(values) == {
        *("virtual_memory_bytes", "resident_memory_bytes", "start_time_seconds", "cpu_seconds_total"),
        *("open_fds", "max_fds"),
    }
    assert 0 < float(values["resident_memory_bytes"]) < float(values["virtual_memory_bytes"])
    assert float(values["open_fds"]) <= float(values["max_fds"])
    assert "process_cpu_seconds_created" not in page


OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"


@pytest.mark.parametrize(
    ("method", "path", "accepted", "kind"),
    [
        ("GET", "/metrics", "application/openmetrics-text", "text/plain; version=1.0.0; charset=utf-8"),
        ("POST", "/metrics", "*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("POST", "/metrics", "application/openmetrics-text; version=1.0.0", OPEN_METRICS),
        ("GET", "/metricsx", "text/plain", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
async def test_only_get_ignores_the_format_that_a_request_accepts(
    method: str, path: str, accepted: str, kind: str
) -> None:
    transport = httpx.ASGITransport(create_app(SimulatorSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
        response = await http.request(method, path, headers={"accept": accepted})
        chosen = await http.request(method, f"{path}?name[]=python_info", headers={"accept": accepted})
    assert response.headers["content-type"] == kind
    plain = (method, path) == ("GET", "/metrics")
    assert (families(chosen.text) == ["python_info"]) is not plain


async def test_requests_are_counted_by_the_route_that_answers_them() -> None:
    transport = httpx.ASGITransport(create_app(SimulatorSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
        for method, path in (
            ("GET", "/v1/videos/mine"),
            ("PUT", "/v1/models"),
            ("GET", "/v1/models/"),
            ("PUT", "/health"),
            ("GET", "/nothing"),
        ):
            await http.request(method, path)
        page = (await http.get("/metrics")).text
    assert set(re.findall(r"^http_requests_total{(.*)} 1\.0$", page, re.MULTILINE)) == {
        'handler="/v1/videos/{video_id}",method="GET",status="4xx"',
        'handler="none",method="PUT",status="4xx"',
        'handler="/v1/models/",method="GET",status="3xx"',
        'handler="none",method="GET",status="4xx"',
    }
