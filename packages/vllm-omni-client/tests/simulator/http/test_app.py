import asyncio
import base64
import io
import json

import httpx
import pytest
from PIL import Image
from vllm_omni_client.simulator import SimulatorSettings, create_app

PATH = "/v1/images/generations"


def client(settings: SimulatorSettings | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(settings))
    return httpx.AsyncClient(transport=transport, base_url="http://simulator")


async def test_it_answers_in_the_same_process_with_no_lifespan_and_no_settings() -> None:
    async with client() as http:
        response = await http.post(PATH, json={"prompt": "a red fox", "seed": 1})
    assert response.status_code == 200
    picture = Image.open(io.BytesIO(base64.b64decode(response.json()["data"][0]["b64_json"])))
    assert (picture.format, picture.size, response.json()["size"]) == ("PNG", (1024, 1024), "1024x1024")
    assert response.json()["metrics"]["peak_memory_mb"] == pytest.approx(16.9 * 1024)


async def test_a_layered_model_sends_as_many_transparent_layers_as_are_requested() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 150), "teal").save(buffer, "PNG")
    upload = {"image": ("teal.png", buffer.getvalue())}
    async with client(SimulatorSettings(model="Qwen/Qwen-Image-Layered")) as http:
        found = [
            await http.post("/v1/images/edits", data={"prompt": "a fox", **form}, files=upload)
            for form in ({"layers": "3", "resolution": "1024", "size": "auto"}, {})
        ]
        refused = await http.post(PATH, json={"prompt": "a fox"})
    three, four = (
        [Image.open(io.BytesIO(base64.b64decode(one["b64_json"]))) for one in answer.json()["data"]]
        for answer in found
    )
    assert [(image.mode, image.size) for image in three] == [("RGBA", (1440, 736))] * 3
    assert [image.size for image in four] == [(896, 448)] * 4
    assert three[0].getchannel("A").getextrema() == (255, 255)
    assert len({image.tobytes() for image in three}) == 3
    assert refused.status_code == 500


async def test_many_requests_at_once_are_all_answered() -> None:
    async with client() as http, asyncio.timeout(60):
        answers = await asyncio.gather(
            *(http.post(PATH, json={"prompt": "a", "size": "64x64", "seed": seed}) for seed in range(50))
        )
    assert [answer.status_code for answer in answers] == [200] * 50
    assert len({answer.json()["data"][0]["b64_json"] for answer in answers}) == 50


def test_one_application_serves_several_event_loops_in_turn() -> None:
    app = create_app()

    async def ask() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
            return (await http.post(PATH, json={"prompt": "a", "size": "64x64"})).status_code

    assert [asyncio.run(ask()) for _ in range(3)] == [200] * 3


async def test_a_call_cancelled_in_the_queue_counts_as_left() -> None:
    request = {"prompt": "a", "size": "64x64", "num_inference_steps": 50}
    waiting = 'num_requests_waiting{model_name="black-forest-labs/FLUX.2-klein-4B"} 1.0'
    async with client(SimulatorSettings(speed=0.3)) as http, asyncio.timeout(60):
        first = asyncio.create_task(http.post(PATH, json=request))
        second = asyncio.create_task(http.post(PATH, json=request))
        while waiting not in (await http.get("/metrics")).text:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)  # in one process, asking alone lets nobody else work
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (await first).status_code == 200
        text = (await http.get("/metrics")).text
    assert 'vllm_omni:image_count_total{model_name="black-forest-labs/FLUX.2-klein-4B"} 1.0' in text
    assert 'reason="client_disconnect"} 1.0' in text


async def test_out_of_memory_is_a_500_that_says_so_and_the_server_continues() -> None:
    async with client() as http:
        too_large = await http.post(PATH, json={"prompt": "a", "size": "4096x4096"})
        too_many = await http.post(PATH, json={"prompt": "a", "n": 10})
        fits = await http.post(PATH, json={"prompt": "a", "size": "64x64"})
    assert [too_large.status_code, too_many.status_code, fits.status_code] == [500, 500, 200]
    error = too_large.json()["error"]
    assert error == {
        "message": error["message"],
        "type": "Internal Server Error",
        "param": None,
        "code": 500,
    }
    assert error["message"].startswith(
        "Image generation failed: CUDA out of memory. Tried to allocate 32.00 GiB. "
        "GPU 0 has a total capacity of 32.00 GiB of which 17.10 GiB is free."
    )


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        (SimulatorSettings(model="Qwen/Qwen-Image"), 200),
        (SimulatorSettings(model="Qwen/Qwen-Image", vram_gib=32.0), 500),
        (SimulatorSettings(vram_gib=16.0), 500),
        (SimulatorSettings(vram_gib=None), 200),
    ],
)
async def test_without_a_configured_gpu_the_model_always_fits(
    settings: SimulatorSettings, status: int
) -> None:
    async with client(settings) as http:
        response = await http.post(PATH, json={"prompt": "a"})
    assert response.status_code == status


async def test_the_version_is_the_given_one() -> None:
    async with client(SimulatorSettings(server_version="0.26.1")) as http:
        assert (await http.get("/version")).json() == {"version": "0.26.1"}


async def test_a_limit_on_the_size_is_kept_and_named() -> None:
    async with client(SimulatorSettings(max_generated_image_size=10_000)) as http:
        refused = await http.post(PATH, json={"prompt": "a", "size": "101x100"})
        taken = await http.post(PATH, json={"prompt": "a", "size": "100x100"})
    assert refused.json()["error"]["message"] == (
        "Requested image size 101x100 exceeds the maximum allowed size of 10000 pixels. "
        "You can reduce the requested size or increase the server's --max-generated-image-size limit."
    )
    assert (refused.status_code, taken.status_code) == (400, 200)


async def test_a_key_of_any_bytes_can_be_wrong_without_harm() -> None:
    async with client(SimulatorSettings(api_key="correct")) as http:
        response = await http.get("/v1/models", headers=[(b"Authorization", b"Bearer \xff\xfe")])
    assert (response.status_code, response.json()) == (401, {"error": "Unauthorized"})


async def test_an_image_that_its_format_cannot_hold_is_a_500() -> None:
    async with client(SimulatorSettings(vram_gib=None)) as http:
        response = await http.post(PATH, json={"prompt": "a", "size": "16400x16", "output_format": "webp"})
    assert response.status_code == 500
    assert response.json()["error"]["message"].startswith("Image generation failed: ")


async def test_names_with_quotes_do_not_break_the_metrics() -> None:
    async with client(SimulatorSettings(model='a"b\\c\nd')) as http:
        text = (await http.get("/metrics")).text
    assert 'vllm_omni:num_requests_running{model_name="a\\"b\\\\c\\nd"} 0.0' in text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"[" * 200_000,
        b'{"prompt":' * 5_000,
        b'{"prompt": "a", "size": "' + b"9" * 6_000 + b'x1"}',
        b'{"prompt": "\\ud800", "negative_prompt": "\\udfff", "size": "16x16"}',
        b'{"prompt": "a", "extra_params": ' + b'{"a":' * 400 + b"1" + b"}" * 400 + b', "size": "16x16"}',
        json.dumps({"prompt": "a" * 2_000_000, "size": "16x16"}).encode(),
        json.dumps({str(number): number for number in range(20_000)}).encode(),
        bytes(range(256)) * 100,
    ],
)
async def test_no_body_breaks_the_server(body: bytes) -> None:
    async with client() as http, asyncio.timeout(60):
        response = await http.post(PATH, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code in {200, 400, 500}
        assert isinstance(response.json(), dict)
        assert (await http.get("/health")).status_code == 200


async def test_requests_are_counted_by_route_method_and_status() -> None:
    async with client() as http:
        for path in (PATH, PATH, "/v1/nothing"):
            await http.post(path, json={"prompt": "a", "size": "64x64"})
        await http.post(PATH, json={})
        await http.get("/health")
        text = (await http.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("http_requests_total")]
    assert lines == [
        'http_requests_total{handler="/v1/images/generations",method="POST",status="2xx"} 2.0',
        'http_requests_total{handler="none",method="POST",status="4xx"} 1.0',
        'http_requests_total{handler="/v1/images/generations",method="POST",status="4xx"} 1.0',
    ]
    assert 'http_request_duration_seconds_count{handler="/v1/images/generations",method="POST"} 3.0' in text
    assert "http_request_duration_highr_seconds_count 4.0" in text


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_an_image_file_says_that_it_was_drawn_by_a_procedure(kind: str) -> None:
    async with client() as http:
        body = {"prompt": "a", "size": "64x64", "output_format": kind}
        data = base64.b64decode((await http.post(PATH, json=body)).json()["data"][0]["b64_json"])
    assert data.count(b"<xmp:CreatorTool>vllm-omni-simulator (simulated)</xmp:CreatorTool>") == 1
    assert data.count(b"http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia<") == 1
