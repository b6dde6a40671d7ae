"""Odd requests, and what vllm-omni 0.30.0 answered to them."""

import io
import json
import socket
from typing import Any

import httpx
import pytest
from PIL import Image
from vllm_omni_client.simulator import SimulatorSettings, create_app
from vllm_omni_client.simulator.engine.model_rules import WorkerError, check_steps
from vllm_omni_client.simulator.http.remote_image import fetch_error
from vllm_omni_client.simulator.http.serving import serve_in_thread

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAA"
    "AgABSK+kcQAAAABJRU5ErkJggg=="
)
SMALL = {"prompt": "a red fox", "size": "64x64", "num_inference_steps": 1, "seed": 7}


def client(**settings: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(SimulatorSettings.model_validate(settings)))
    return httpx.AsyncClient(transport=transport, base_url="http://simulator")


async def error(**fields: object) -> dict[str, Any]:
    """What a generation with these fields is refused with."""
    async with client() as http:
        content = json.dumps(SMALL | fields).encode()
        response = await http.post(GENERATIONS, content=content, headers={"content-type": "application/json"})
    return response.json()["error"]


def nested(depth: int, *, lists: bool) -> dict[str, object]:
    value: object = 1
    for _ in range(depth - 1):
        value = [value] if lists else {"a": value}
    return {"a": value}


@pytest.mark.parametrize("lists", [True, False])
async def test_parameters_that_are_nested_too_deep_kill_the_engine_for_good(*, lists: bool) -> None:
    async with client() as http:
        shallow = await http.post(GENERATIONS, json=SMALL | {"extra_params": nested(400, lists=lists)})
        deep = await http.post(GENERATIONS, json=SMALL | {"extra_params": nested(500, lists=lists)})
        later = await http.post(GENERATIONS, json=SMALL)
        health = await http.get("/health")
    assert [each.status_code for each in (shallow, deep, later, health)] == [200, 500, 500, 503]
    message = "maximum recursion depth exceeded while calling a Python object"
    assert deep.json()["error"] == {
        "message": message,
        "type": "InternalServerError",
        "param": None,
        "code": 500,
        "request_id": deep.json()["error"]["request_id"],
        "error_stage_id": None,
    }


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (2**63, "index -1 is out of bounds for axis 0 with size 0"),
        (2**63 - 1, "index -1 is out of bounds for axis 0 with size 0"),
        (2**64, "Maximum allowed size exceeded"),
        (10**500, "Maximum allowed size exceeded"),
        (
            2**61,
            "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size.",
        ),
        (
            10**12,
            "Unable to allocate 7.28 TiB for an array with shape (1000000000000,) and data type float64",
        ),
    ],
)
def test_more_steps_than_numpy_can_lay_out_are_a_failure(steps: int, message: str) -> None:
    with pytest.raises(WorkerError) as caught:
        check_steps(steps)
    assert str(caught.value) == message


async def test_an_edit_with_such_steps_is_a_500() -> None:
    form = {"prompt": "a", "num_inference_steps": str(2**63), "url": "data:image/png;base64,"}
    async with client() as http:
        empty = await http.post(EDITS, data=form)
        form["url"] = PIXEL
        response = await http.post(EDITS, data=form)
    assert (empty.status_code, response.status_code) == (400, 500)


async def test_half_a_character_is_refused_wherever_it_stands() -> None:
    assert await error(use_system_prompt="\ud83d") == {
        "message": "'utf-8' codec can't encode character '\\ud83d' in position 32: surrogates not allowed",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
    lora = await error(lora={"name": "style", "path": "x\udc00"})
    assert (
        lora["message"]
        == "'utf-8' codec can't encode character '\\udc00' in position 1: surrogates not allowed"
    )
    assert (lora["code"], lora["type"]) == (400, "Bad Request")
    assert (await error(generator_device="\ud800"))["message"].endswith("error unpacking string as utf-8")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("meta:3", "META device type not an accelerator."),
        ("mps", "Cannot execute getNewGenerator() without MPS backend."),
        ("hip", "Backend doesn`t support getNewGenerator()"),
        ("cpu:2147483648", "Could not parse device index '2147483648' in device string 'cpu:2147483648'"),
        ("a'b\n", "Invalid device string: 'a'b\n'"),
        ("cpu\0", "Invalid device string: 'cpu"),
    ],
)
async def test_a_device_that_cannot_draw_noise_is_told_as_pytorch_tells_it(device: str, message: str) -> None:
    found = await error(generator_device=device)
    assert (found["code"], found["message"]) == (500, f"Image generation failed: {message}")


@pytest.mark.parametrize(
    ("lora", "code", "message"),
    [
        ({"path": "/n", "int_id": 0}, 400, "id must be > 0, got 0"),
        ({"path": "/n", "lora_int_id": "-7"}, 400, "id must be > 0, got -7"),
        ({"path": "a--b"}, 500, "[Errno 2] No such file or directory: 'a--b/adapter_config.json'"),
        ({"path": "me/x.git"}, 500, "[Errno 2] No such file or directory: 'me/x.git/adapter_config.json'"),
        ({"path": "it's"}, 500, '[Errno 2] No such file or directory: "it\'s/adapter_config.json"'),
        ({"path": "/"}, 500, "[Errno 2] No such file or directory: '/adapter_config.json'"),
        ({"path": "~/loras"}, 500, "[Errno 2] No such file or directory: '<path>'"),
        ({"path": "a\0"}, 500, "embedded null byte"),
    ],
)
async def test_an_adapter_that_is_not_there_is_told_as_the_server_looks_for_it(
    lora: dict[str, object], code: int, message: str
) -> None:
    found = await error(lora={"name": "style", **lora})
    whole = message if code == 400 else f"Image generation failed: {message}"
    assert (found["code"], found["message"]) == (code, whole)


async def test_a_negative_prompt_counts_only_where_the_model_is_guided_by_it() -> None:
    long = "fox " * 5000
    async with client(model="Qwen/Qwen-Image") as http:
        guided = await http.post(GENERATIONS, json=SMALL | {"negative_prompt": long})
        unguided = await http.post(GENERATIONS, json=SMALL | {"negative_prompt": long, "true_cfg_scale": 1})
    assert (guided.status_code, unguided.status_code) == (500, 200)
    assert "`negative_prompt` is too long" in guided.json()["error"]["message"]


def png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("inputs", "size", "a", "b", "dimension"),
    [
        ([(64, 64)], "32x64", 64, 32, 3),
        ([(64, 64)], "64x80", 64, 80, 2),
        ([(64, 96)] * 3, None, 24, 72, 1),
        ([(64, 64), (128, 64)], None, 16, 48, 1),
    ],
)
async def test_a_mask_fits_one_image_of_the_size_that_is_made(
    inputs: list[tuple[int, int]], size: str | None, a: int, b: int, dimension: int
) -> None:
    form = {"prompt": "a", "num_inference_steps": "1"} | ({"size": size} if size else {})
    files = [*(("image", png(each)) for each in inputs), ("mask_image", png((64, 64)))]
    async with client() as http:
        response = await http.post(EDITS, data=form, files=files)
        unmasked = await http.post(EDITS, data=form, files=files[:-1])
    assert unmasked.status_code == 200
    assert response.status_code == 500
    assert response.json()["error"]["message"] == (
        f"Image edit failed: The size of tensor a ({a}) must match the size of tensor b ({b}) "
        f"at non-singleton dimension {dimension}"
    )


@pytest.mark.parametrize("name", ["image[]", "url[]"])
async def test_an_item_of_a_list_with_brackets_is_told_without_the_lists_name(name: str) -> None:
    async with client() as http:
        wrong = {"files": {name: b"x"}} if name == "url[]" else {"data": {name: "x"}}
        response = await http.post(EDITS, **({"data": {"prompt": "a"}} | wrong))  # type: ignore[arg-type]  # what httpx takes
    found = response.json()["error"]
    assert "'loc': 'body.0'" in found["message"] or found["param"] == "body.0"


async def test_a_lora_that_is_nested_too_deep_in_a_form_is_a_failure() -> None:
    async with client() as http:
        form = {"prompt": "a", "lora": "[" * 100_000, "url": "data:image/png;base64,AAAA"}
        form["url"] = PIXEL
        response = await http.post(EDITS, data=form)
    assert response.status_code == 500
    assert response.json()["error"]["message"].startswith(
        "Image edit failed: maximum recursion depth exceeded"
    )


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://", "Request URL is missing an 'http://' or 'https://' protocol."),
        ("http://999.1.1.1/a.png", "Invalid IPv4 address: '999.1.1.1'"),
        ("http://host:port/", "Invalid port: 'port'"),
        ("https://[fe80::1/", "Invalid port: ':1'"),
        ("http://a\tb/", "Invalid non-printable ASCII character in URL, '\\t' at position 8."),
        ("http://127.0.0.1:99999/", "All connection attempts failed"),
        ("http://127.1/", "All connection attempts failed"),
        ("http://user:word@[::1]:1/", "All connection attempts failed"),
        ("https://nobody.invalid/a.png", "[Errno -2] Name or service not known"),
        ("http://a/" + "b" * 70_000, "URL too long"),
    ],
)
def test_why_an_address_cannot_be_fetched(address: str, why: str) -> None:
    assert fetch_error(address) == why


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (b"application/json", 200),
        (b" application/json", 200),
        (b"application/json ", 400),
        (b"application/json\t", 400),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_blanks_at_the_end_of_a_content_type_stay(kind: bytes, status: int, pieces: int) -> None:
    body = json.dumps(SMALL).encode()
    head = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type:%s\r\nContent-Length: %d\r\n\r\n"
    request = head % (kind, len(body)) + body
    with serve_in_thread(SimulatorSettings()) as url:
        host, _, port = url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            for _ in range(2):  # on one connection: the second request has a head of its own
                step = len(request) // pieces + 1
                for start in range(0, len(request), step):
                    connection.sendall(request[start : start + step])
                assert connection.recv(65536).startswith(b"HTTP/1.1 %d " % status)
                if status == 200:
                    return
