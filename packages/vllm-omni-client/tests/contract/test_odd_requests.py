"""Odd requests, and what vllm-omni 0.30.0 answered to them."""

import http.client
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
async def test_parameters_nested_too_deeply_kill_the_engine_for_good(*, lists: bool) -> None:
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
def test_more_steps_than_numpy_can_allocate_fail(steps: int, message: str) -> None:
    with pytest.raises(WorkerError) as caught:
        check_steps(steps)
    assert str(caught.value) == message


async def test_an_edit_with_that_many_steps_is_a_500() -> None:
    form = {"prompt": "a", "num_inference_steps": str(2**63), "url": "data:image/png;base64,"}
    async with client() as http:
        empty = await http.post(EDITS, data=form)
        form["url"] = PIXEL
        response = await http.post(EDITS, data=form)
    assert (empty.status_code, response.status_code) == (400, 500)


async def test_a_lone_surrogate_is_refused_wherever_it_is() -> None:
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
async def test_a_device_that_cannot_generate_noise_is_reported_as_pytorch_reports_it(
    device: str, message: str
) -> None:
    found = await error(generator_device=device)
    assert (found["code"], found["message"]) == (500, f"Image generation failed: {message}")


async def test_a_server_without_a_gpu_accepts_no_cuda_device() -> None:
    codes: list[int] = []
    for gib in (32.0, 0.0):
        async with client(vram_gib=gib) as http:
            response = await http.post(GENERATIONS, json=SMALL | {"generator_device": "cuda:0"})
        codes.append(response.status_code)
    assert codes == [200, 500]
    message = response.json()["error"]["message"]
    assert message.startswith(
        "Image generation failed: Cannot get CUDA generator without ATen_cuda library. "
    )


async def test_a_server_without_a_gpu_never_runs_out_of_gpu_memory() -> None:
    large = SMALL | {"size": "4096x4096", "output_format": "jpeg"}
    codes: list[int] = []
    for gib in (16.0, 0.0):
        async with client(vram_gib=gib) as http:
            codes.append((await http.post(GENERATIONS, json=large)).status_code)
    assert codes == [500, 200]


async def test_an_adapter_with_the_scale_0_is_not_loaded() -> None:
    lora = {"name": "style", "path": "/nowhere"}
    async with client() as http:
        bare = await http.post(GENERATIONS, json=SMALL)
        switched_off = await http.post(GENERATIONS, json=SMALL | {"lora": {**lora, "scale": 0}})
        missing = await http.post(GENERATIONS, json=SMALL | {"lora": {**lora, "scale": 0.1}})
    assert missing.status_code == 500
    assert switched_off.json()["data"] == bare.json()["data"]


@pytest.mark.parametrize(
    ("lora", "code", "message"),
    [
        ({"path": "/n", "int_id": 0}, 400, "id must be > 0, got 0"),
        ({"path": "/n", "lora_int_id": "-7"}, 400, "id must be > 0, got -7"),
        ({"path": "a--b"}, 500, "[Errno 2] No such file or directory: 'a--b/adapter_config.json'"),
        ({"path": "me/x.git"}, 500, "[Errno 2] No such file or directory: 'me/x.git/adapter_config.json'"),
        ({"path": "it's"}, 500, '[Errno 2] No such file or directory: "it\'s/adapter_config.json"'),
        ({"path": "/"}, 500, "[Errno 2] No such file or directory: '/adapter_config.json'"),
        ({"path": ".."}, 500, "[Errno 2] No such file or directory: '<path>'"),
        ({"path": "~/loras"}, 500, "[Errno 2] No such file or directory: '<path>'"),
        ({"path": "a\0"}, 500, "embedded null byte"),
    ],
)
async def test_a_missing_adapter_is_reported_depending_on_its_kind_of_path(
    lora: dict[str, object], code: int, message: str
) -> None:
    found = await error(lora={"name": "style", **lora})
    whole = message if code == 400 else f"Image generation failed: {message}"
    assert (found["code"], found["message"]) == (code, whole)


async def test_a_negative_prompt_counts_only_if_the_model_uses_it_for_guidance() -> None:
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
async def test_a_mask_fits_a_single_image_of_the_output_size(
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


BROKEN = png((64, 64))[:-20]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"size": "15x64"}, "image file is truncated"),
        ({"num_inference_steps": str(2**61), "prompt": " "}, "`prompt` cannot be empty or whitespace-only."),
        ({"num_inference_steps": str(2**61), "size": "15x64"}, "image file is truncated"),
    ],
)
async def test_the_first_of_several_faults_is_the_one_that_is_reported(
    form: dict[str, str], message: str
) -> None:
    async with client() as http:
        response = await http.post(EDITS, data={"prompt": "a"} | form, files=[("image", BROKEN)])
    assert response.json()["error"]["message"] == f"Image edit failed: {message}"


@pytest.mark.parametrize("field", ["bot_task", "sys_type"])
async def test_a_prompting_task_decodes_images_that_the_model_ignores(field: str) -> None:
    form = {"prompt": "a", "size": "64x64", "num_inference_steps": "1"}
    async with client(model="Qwen/Qwen-Image") as http:
        ignored = await http.post(EDITS, data=form, files=[("image", BROKEN)])
        decoded = await http.post(EDITS, data=form | {field: "think"}, files=[("image", BROKEN)])
        mask = [("image", png((64, 64))), ("mask_image", BROKEN)]
        mask_alone = await http.post(EDITS, data=form | {field: "think"}, files=mask)
    assert [each.status_code for each in (ignored, decoded, mask_alone)] == [200, 500, 200]
    message = decoded.json()["error"]["message"]
    assert message == "Image edit failed: image file is truncated"


@pytest.mark.parametrize("name", ["image[]", "url[]"])
async def test_an_item_of_a_list_with_brackets_is_reported_without_the_name_of_the_list(name: str) -> None:
    async with client() as http:
        wrong = {"files": {name: b"x"}} if name == "url[]" else {"data": {name: "x"}}
        response = await http.post(EDITS, **({"data": {"prompt": "a"}} | wrong))  # type: ignore[arg-type]  # what httpx takes
    found = response.json()["error"]
    assert "'loc': 'body.0'" in found["message"] or found["param"] == "body.0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A", "Invalid number of data characters"),
        ("==A", "Invalid number of data characters"),
        ("AA=", "Incorrect padding"),
        ("AA==A", "Incorrect padding"),
        ("é", "string argument should contain only ASCII characters"),
        ("AAA=A", "cannot identify image file <_io.BytesIO object>"),
        ("====", "cannot identify image file <_io.BytesIO object>"),
    ],
)
async def test_base64_is_decoded_as_the_decoder_of_the_server_does(text: str, message: str) -> None:
    async with client() as http:
        response = await http.post(EDITS, data={"prompt": "a", "url": f"data:image/png;base64,{text}"})
    assert response.json()["error"]["message"] == f"Invalid base64 image: {message}"


async def test_a_lora_nested_too_deeply_in_a_form_fails() -> None:
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
        ("httpx://127.0.0.1/", "Request URL has an unsupported protocol 'httpx://'."),
        ("http://[x]/", "Invalid IPv6 address: '[x]'"),
        ("http://１２７.0.0.1/", "Invalid IDNA hostname: '１２７.0.0.1'"),  # noqa: RUF001 - such digits are meant
        ("http://xn--a.invalid/", "Codepoint U+0080 at position 1 of '\\x80' not allowed"),
    ],
)
def test_why_an_address_cannot_be_fetched(address: str, why: str) -> None:
    assert fetch_error(address) == why


def answered_status(connection: socket.socket) -> int:
    """The status of the next answer on a connection, all of which is read."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


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
def test_trailing_blanks_of_a_content_type_stay(kind: bytes, status: int, pieces: int) -> None:
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
                assert answered_status(connection) == status
                if status == 200:
                    return


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/health#top", 200),
        (b"http://other/health", 200),
        (b"/%68ealth", 200),
        (b"%2fhealth", 400),
        (b"health", 400),
    ],
)
def test_a_target_is_parsed_as_by_the_server(target: bytes, status: int) -> None:
    with serve_in_thread(SimulatorSettings()) as url:
        host, _, port = url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
            assert answered_status(connection) == status
