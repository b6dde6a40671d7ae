"""Everything that can be wrong with an answer, on a real socket; the ids are those of the list of faults."""

import asyncio
import base64
import io
import json
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import cast

import pytest
from PIL import Image
from vllm_omni_client import (
    AsyncOmniClient,
    BadReply,
    BadRequest,
    Capabilities,
    EngineDead,
    ImageGenerationReply,
    ImageGenerationRequest,
    ModelChanged,
    NotFound,
    OmniClient,
    OmniError,
    OutOfGpuMemory,
    ServerBusy,
    ServerError,
    Unauthorized,
)

Script = Callable[[socket.socket, bytes], bool]
Serve = Callable[[Script], str]
Draw = Callable[..., ImageGenerationReply]

REQUEST = ImageGenerationRequest(prompt="a fox", size="4x3", seed=7)
HTML = (
    b"<html><head><title>502 Bad Gateway</title></head><body><script>alert(1)</script>"
    b"<center>nginx</center></body></html>" + b"<!-- padding -->" * 200
)


def encoded(kind: str = "PNG", size: tuple[int, int] = (4, 3), colour: str = "red", **options: int) -> bytes:
    """An image of one colour, but for a corner."""
    picture = Image.new("RGB", size, colour)
    picture.putpixel((size[0] - 1, size[1] - 1), (1, 2, 3))
    return saved(picture, kind, **options)


def saved(picture: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


PNG = encoded()


def http(body: bytes, status: int = 200, **head: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    return (
        "\r\n".join([*lines, *(f"{name}: {value}" for name, value in head.items()), "", ""]).encode() + body
    )


def told(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def pictures(*data: bytes, **more: object) -> bytes:
    return told(data=[{"b64_json": base64.b64encode(one).decode()} for one in data], **more)


class Asked(list[str]):
    """The paths that a server was asked for."""

    def pictures(self) -> int:
        return sum(path.endswith("/generations") for path in self)


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture(params=["async", "sync"])
def draw(request: pytest.FixtureRequest, serve: Serve, asked: Asked) -> Draw:
    """Ask one of the two clients for an image of a server that answers by a list; the last one for ever."""

    async def in_async(
        url: str, parsed: ImageGenerationRequest, settings: Mapping[str, object], into: Path | None
    ) -> object:
        async with AsyncOmniClient(url, **settings) as client:  # type: ignore[arg-type]  # settings of a test
            return await client.generate_image(parsed, into=into)

    def drawn(
        *answers: bytes,
        parsed: ImageGenerationRequest = REQUEST,
        health: bytes = http(b"{}"),
        models: bytes = http(b"{}"),
        into: Path | None = None,
        **settings: object,
    ) -> object:
        coming = chain(answers, repeat(answers[-1]))

        def script(connection: socket.socket, asking: bytes) -> bool:
            asked.append(asking.split(b" ")[1].decode())
            aside = {"/health": health, "/v1/models": models}
            connection.sendall(aside.get(asked[-1]) or next(coming))
            return False

        settings = {"timeout": 10.0, "jitter": lambda: 0.0, "capabilities": Capabilities(), **settings}
        into = into and into.with_name(f"{len(asked)}.png")
        if request.param == "async":
            return asyncio.run(in_async(serve(script), parsed, settings, into))
        with OmniClient(serve(script), **settings) as client:  # type: ignore[arg-type]  # settings of a test
            return client.generate_image(parsed, into=into)

    return cast("Draw", drawn)


def failure(draw: Draw, *answers: bytes, **settings: object) -> OmniError:
    with pytest.raises(OmniError) as caught:
        draw(*answers, **settings)
    return caught.value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (told(detail=[{"loc": ["body", "n"], "msg": "too many"}]), "body.n: too many"),
        (told(error={"message": "too many", "type": "x", "param": "body.n", "code": 400}), "too many"),
        (told(detail="There was an error parsing the body"), "There was an error parsing the body"),
    ],
)
def test_h01_every_shape_of_a_refusal_is_read(draw: Draw, asked: Asked, body: bytes, words: str) -> None:
    error = failure(draw, http(body, 400))
    assert type(error) is BadRequest
    assert error.message == f"the server answered 400: {words}"
    assert asked.pictures() == 1


MISMATCH = http(
    told(error={"message": "Model mismatch: request specifies 'a' but server is running 'b'."}), 400
)


@pytest.mark.parametrize(
    ("models", "served"),
    [(http(told(data=[{"id": "c"}, {"id": "d"}])), ("c", "d")), (http(b"", 500), ("b",))],
    ids=["as it lists them", "as it said"],
)
def test_h02_another_model_is_reported_with_all_names_and_not_retried(
    draw: Draw, asked: Asked, models: bytes, served: tuple[str, ...]
) -> None:
    error = failure(draw, MISMATCH, models=models, max_retries=5)
    assert type(error) is ModelChanged
    assert (error.requested, error.served) == ("a", served)
    assert error.message == (
        "the server answered 400: Model mismatch: request specifies 'a' but server is running 'b'."
    )
    assert (error.gpu_spent, error.exchange and error.exchange.status) == ("no", 400)
    assert asked == ["/v1/images/generations", "/v1/models"]


@pytest.mark.parametrize("status", [401, 403])
def test_h03_a_refused_key_is_named_and_not_shown(draw: Draw, asked: Asked, status: int) -> None:
    error = failure(draw, http(b'{"error":"Unauthorized: CANARY"}', status), api_key="CANARY")
    assert type(error) is Unauthorized
    assert "api_key" in error.next_step
    assert "CANARY" not in repr(error) + error.next_step
    assert asked.pictures() == 1


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        (http(told(data=[{"id": "llama"}, {"id": "second"}])), "lists llama, second"),
        (http(told(detail="Not Found"), 404), "lists no model"),
    ],
    ids=["a language model", "no such server"],
)
def test_h04_a_wrong_address_is_reported_with_what_was_requested_and_what_is_there(
    draw: Draw, asked: Asked, models: bytes, shown: str
) -> None:
    error = failure(draw, http(told(detail="Not Found"), 404), models=models)
    assert type(error) is NotFound
    assert error.exchange
    base_url = error.exchange.url.removesuffix("/v1/images/generations")
    assert error.message == f"the server answered 404: Not Found; {base_url} {shown} under /v1/models"
    assert "base_url" in error.next_step
    assert asked == ["/v1/images/generations", "/v1/models"]


@pytest.mark.parametrize("status", [413, 422])
def test_h05_a_refused_body_is_not_sent_again(draw: Draw, asked: Asked, status: int) -> None:
    assert type(failure(draw, http(told(detail="limit 1024KB"), status))) is BadRequest
    assert asked.pictures() == 1


@pytest.mark.parametrize(
    ("head", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Mon, 23 Nov 2026 06:00:09 GMT", "date": "Mon, 23 Nov 2026 06:00:00 GMT"}, 9.0),
        ({"retry-after-ms": "2500"}, 2.5),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "NaN"}, None),
        ({"retry-after": "1e9"}, 1e9),
        ({"retry-after": "1000000000"}, 1e9),
        ({}, None),
    ],
)
def test_h06_a_wait_is_read_in_all_its_forms(
    draw: Draw, asked: Asked, head: dict[str, str], seconds: float | None
) -> None:
    error = failure(draw, http(b"", 429, **head), max_retries=0)
    assert isinstance(error, ServerBusy)
    assert error.retry_after_seconds == seconds


def test_h06_a_wait_that_is_too_long_is_an_error_and_not_waited_for(draw: Draw, asked: Asked) -> None:
    error = failure(draw, http(b"", 429, **{"retry-after": "121"}), timeout=1000.0)
    assert isinstance(error, ServerBusy)
    assert (error.retry_after_seconds, asked.pictures()) == (121.0, 1)


def test_h07_an_image_that_does_not_fit_is_not_requested_again(draw: Draw, asked: Asked) -> None:
    error = failure(draw, http(told(error={"message": "CUDA out of memory. Tried to allocate 2 GiB"}), 500))
    assert type(error) is OutOfGpuMemory
    assert "smaller size" in error.next_step
    assert asked.pictures() == 1


def test_h08_a_server_fault_is_retried_once(draw: Draw, asked: Asked) -> None:
    error = failure(draw, http(told(error={"message": "it failed"}), 500), max_retries=5)
    assert type(error) is ServerError
    assert asked == ["/v1/images/generations", "/health"] * 2
    assert draw(http(b"", 500), http(pictures(PNG))).data[0].bytes == PNG


@pytest.mark.parametrize("status", [502, 503, 504])
def test_h09_html_is_never_shown_raw(draw: Draw, status: int) -> None:
    error = failure(draw, http(HTML, status), max_retries=0)
    assert error.message == f"the server answered {status}: '502 Bad Gateway nginx'"


@pytest.mark.parametrize("text", ["it failed", "EngineCore encountered an issue. See stack trace"])
def test_h10_a_dead_engine_is_recognised_by_its_health(draw: Draw, asked: Asked, text: str) -> None:
    error = failure(draw, http(told(error={"message": text}), 500), health=http(b"{}", 503))
    assert type(error) is EngineDead
    assert "Restart" in error.next_step
    assert asked.pictures() == 1


NO_PICTURES = {
    "html": HTML,
    "text": b"hello",
    "no data": b'{"created":1}',
    "null": b'{"data":null}',
    "none": b'{"data":[]}',
    "no picture": b'{"data":[{"b64_json":null,"url":null}]}',
    "empty": b"",
}


@pytest.mark.parametrize("body", NO_PICTURES.values(), ids=NO_PICTURES)
def test_h11_a_success_without_an_image_is_a_bad_reply(draw: Draw, asked: Asked, body: bytes) -> None:
    error = failure(draw, http(body), max_retries=5)
    assert type(error) is BadReply
    assert error.gpu_spent == "unknown"
    assert "<" not in error.message
    assert len(error.message) < 300
    assert asked.pictures() == 2


def test_h12_an_error_within_a_success_is_reported(draw: Draw) -> None:
    error = failure(draw, http(told(error={"message": "it failed"})), max_retries=0)
    assert error.message == "the server answered 200, but the body contains an error: it failed"


@pytest.mark.parametrize("text", ["a!Gk=", "####", "aG k=", "aGk=aGk=", "aGk====="])
def test_h13_junk_in_the_base64_is_refused(draw: Draw, text: str) -> None:
    error = failure(draw, http(told(data=[{"b64_json": text}])), max_retries=0)
    assert type(error) is BadReply
    assert "data.0.b64_json is invalid: not base64" in error.message


def test_h14_a_data_url_is_read_and_any_other_url_is_not_fetched(draw: Draw, asked: Asked) -> None:
    text = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert draw(http(told(data=[{"b64_json": text}]))).data[0].bytes == PNG
    error = failure(draw, http(told(data=[{"url": "http://127.0.0.1/x.png"}])), max_retries=0)
    assert type(error) is BadReply
    assert asked == ["/v1/images/generations"] * 2


@pytest.mark.parametrize(("kind", "name"), [("JPEG", "jpeg"), ("WEBP", "webp")])
def test_h15_another_format_is_kept_and_reported(draw: Draw, kind: str, name: str) -> None:
    reply = draw(http(pictures(encoded(kind), output_format="png")))
    assert reply.data[0].format == name
    assert reply.warnings == (f"Image 0 is {name.upper()}, not PNG.",)


DAMAGED = {
    "cut by 5 bytes": PNG[:-5],
    "cut in half": PNG[: len(PNG) // 2],
    "without an end": PNG[:-12],
    "a bit flipped": PNG[:45] + bytes([PNG[45] ^ 1]) + PNG[46:],
    "a wrong checksum": PNG[:-13] + bytes([PNG[-13] ^ 1]) + PNG[-12:],
    "no picture": b"GIF89a" + bytes(100),
    "half a jpeg": encoded("JPEG", (64, 64))[:-40],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_h16_a_damaged_image_is_requested_once_more_and_never_returned(
    draw: Draw, asked: Asked, data: bytes
) -> None:
    error = failure(draw, http(pictures(data)), max_retries=5)
    assert type(error) is BadReply
    assert asked.pictures() == 2
    assert draw(http(pictures(data)), http(pictures(PNG))).data[0].bytes == PNG


def bomb(width: int, height: int, packed: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return PNG[:8] + head + chunk(b"IDAT", bytes(packed)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        bomb(13_000, 13_000, 500_000),
        bomb(20_000, 20_000, 1_200_000),
        bomb(1, 2**31, 9),
        bomb(2**31 - 1, 1, 9),
        bomb(5_000, 5_000, 1_000),
    ],
    ids=["13000", "20000", "2**31 high", "2**31 wide", "5000 from a thousand bytes"],
)
def test_h17_an_image_that_would_decompress_to_gigabytes_is_refused(draw: Draw, data: bytes) -> None:
    error = failure(draw, http(pictures(data)), max_retries=0)
    assert type(error) is BadReply
    assert "pixels" in error.message or "size" in error.message


def test_h18_another_size_is_kept_and_reported(draw: Draw) -> None:
    reply = draw(http(pictures(encoded(size=(64, 64)), size="4x3")))
    assert reply.data[0].size == (64, 64)
    assert reply.warnings == ("Image 0 is 64x64, not 4x3.",)


@pytest.mark.parametrize(
    ("colours", "words"),
    [
        (["red"], "1 of 2 images arrived; missing: 1."),
        (["red", "green", "blue"], "3 images arrived instead of 2."),
    ],
)
def test_h19_another_number_is_kept_and_reported(draw: Draw, colours: list[str], words: str) -> None:
    data = [encoded(colour=colour) for colour in colours]
    reply = draw(http(pictures(*data)), parsed=REQUEST.model_copy(update={"n": 2}))
    assert [image.bytes for image in reply.data] == data
    assert reply.warnings == (words,)


def test_h20_the_same_image_twice_is_reported(draw: Draw) -> None:
    reply = draw(http(pictures(PNG, PNG)), parsed=REQUEST.model_copy(update={"n": 2}))
    assert reply.warnings == ("Images 0 and 1 are identical, byte for byte.",)


FLAT = {
    "black": saved(Image.new("RGB", (64, 48))),
    "black, stored": saved(Image.new("RGB", (64, 48)), compress_level=0),
    "black, see-through": saved(Image.new("RGBA", (64, 48))),
    "grey": saved(Image.new("L", (64, 48), 119)),
    "red": saved(Image.new("RGB", (64, 48), "red")),
}
COLOURS = ("#000000", "#000000", "#000000", "#777777", "#ff0000")


@pytest.mark.parametrize(("data", "colour"), list(zip(FLAT.values(), COLOURS, strict=True)), ids=FLAT)
def test_h21_an_image_of_one_colour_is_reported(draw: Draw, tmp_path: Path, data: bytes, colour: str) -> None:
    reply = draw(http(pictures(PNG, data)), parsed=REQUEST.model_copy(update={"n": 2, "size": None}))
    assert [image.flat_colour for image in reply.data] == [None, colour]
    assert reply.warnings == (f"Image 1 has only one colour, {colour}; the generation may have failed.",)
    kept = draw(
        http(pictures(data)), into=tmp_path / "flat.png", parsed=REQUEST.model_copy(update={"size": None})
    )
    assert kept.warnings == (f"The image has only one colour, {colour}; the generation may have failed.",)


def test_h21_an_image_with_one_different_pixel_is_not_reported(draw: Draw) -> None:
    for level in (0, 1, 9):
        data = encoded(size=(64, 48), colour="black", compress_level=level)
        reply = draw(http(pictures(data)), parsed=REQUEST.model_copy(update={"size": None}))
        assert reply.warnings == ()


def test_h22_models_are_read_again_each_time(serve: Serve) -> None:
    cards = iter([[{"id": "a"}], [{"id": "b"}, {"id": "b"}, {"id": "c"}]])

    def script(connection: socket.socket, asking: bytes) -> bool:
        connection.sendall(http(told(data=next(cards))))
        return True

    with OmniClient(serve(script)) as client:
        assert [card.id for card in client.get_models().data] == ["a"]
        assert [card.id for card in client.get_models().data] == ["b", "b", "c"]


ODD_JSON = {
    "deep": b'{"data":' + b"[" * 200_000,
    "deep beside": b'{"metrics":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b',"data":[]}',
    "NaN": b'{"data":NaN}',
    "many": b'{"data":[' + b"{}," * 100_000 + b"{}]}",
    "BOM": b"\xef\xbb\xbf" + b'{"data":[]}',
    "surrogate": b'{"data":[{"b64_json":"\\ud800"}]}',
    "not UTF-8": b'{"data":"\xff"}',
    "two keys": b'{"data":[{"b64_json":"aGk="}],"data":[]}',
}


@pytest.mark.parametrize("body", ODD_JSON.values(), ids=ODD_JSON)
def test_h23_odd_json_is_a_bad_reply_and_not_a_crash(draw: Draw, body: bytes) -> None:
    assert type(failure(draw, http(body), max_retries=0)) is BadReply
    assert isinstance(failure(draw, http(body, 400)), BadRequest)


@pytest.mark.parametrize("into_file", [False, True], ids=["in memory", "into a file"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
def test_base64_with_line_breaks_and_a_byte_order_mark_is_read_and_not_paid_for_twice(
    draw: Draw, asked: Asked, tmp_path: Path, *, into_file: bool, line_end: str, mark: bytes, head: str
) -> None:
    text = base64.encodebytes(PNG).decode().replace("\n", line_end)
    body = mark + told(data=[{"b64_json": head + text}])
    if into_file:
        draw(http(body), into=tmp_path / "fox.png")
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [PNG]
    else:
        assert draw(http(body)).data[0].bytes == PNG
    assert asked == ["/v1/images/generations"]


OUT_OF_MEMORY = [
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "CUDA error: out of memory",
    "torch.OutOfMemoryError: HIP out of memory",
    "NPU out of memory. Tried to allocate 1 GiB (NPU 0; 61 GiB total capacity)",
    "XPU out of memory. Tried to allocate 12.00 GiB",
    "MPS backend out of memory",
    "UR backend failed. UR backend returns:39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    "Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES)",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "HIPBLAS_STATUS_ALLOC_FAILED",
    "hipErrorOutOfMemory",
    "cudaErrorMemoryAllocation: the API call failed",
    "miopenStatusAllocFailed",
    "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory: you tried to allocate 4294967296 bytes.",
    "Unable to allocate 3.2 GiB for an array with shape (1, 4096)",
    "[Errno 12] Cannot allocate memory",
    "std::bad_alloc",
    "MemoryError",
]


@pytest.mark.parametrize("words", OUT_OF_MEMORY)
@pytest.mark.parametrize(("status", "shape"), [(500, "detail"), (503, "error"), (200, "error")])
def test_out_of_memory_is_recognised_in_the_words_of_each_library_and_not_retried(
    draw: Draw, asked: Asked, words: str, status: int, shape: str
) -> None:
    body = told(**{shape: words if shape == "detail" else {"message": words}})
    error = failure(draw, http(body, status), max_retries=5)
    assert type(error) is OutOfGpuMemory
    assert words in error.message
    assert (error.gpu_spent, asked.pictures()) == ("yes", 1)


@pytest.mark.parametrize(
    "words", ["failed to allocate a port", "memory of the session is gone", "the prompt is not enough"]
)
def test_other_failures_are_not_taken_for_out_of_memory(draw: Draw, words: str) -> None:
    assert type(failure(draw, http(told(detail=words), 500), max_retries=0)) is ServerError


@pytest.mark.parametrize("status", [504, 522, 524])
def test_a_proxy_that_gave_up_is_reported_and_the_request_is_not_sent_again(
    draw: Draw, asked: Asked, status: int
) -> None:
    error = failure(draw, http(HTML, status), max_retries=5)
    assert error.next_step.startswith("A proxy timed out before the server answered; raise")
    assert (error.gpu_spent, asked.pictures()) == ("unknown", 1)


@pytest.mark.parametrize("body", [HTML, b"", b"Request Entity Too Large", b'{"message": "too long"}'])
def test_the_upload_limit_of_a_proxy_is_named(draw: Draw, body: bytes) -> None:
    assert "upload limit" in failure(draw, http(body, 413)).next_step


@pytest.mark.parametrize("status", [401, 403])
def test_a_proxy_that_refuses_access_is_not_given_the_key(draw: Draw, status: int) -> None:
    step = failure(draw, http(HTML, status)).next_step
    assert "api_key" not in step
    assert "proxy" in step


def test_no_cookie_of_a_server_is_kept(serve: Serve) -> None:
    heads: list[bytes] = []

    def script(connection: socket.socket, asking: bytes) -> bool:
        heads.append(asking.partition(b"\r\n\r\n")[0].lower())
        connection.sendall(
            http(told(data=[])).replace(b"\r\n\r\n", b"\r\nset-cookie: session=1; Path=/\r\n\r\n", 1)
        )
        return True

    async def in_async(url: str) -> None:
        async with AsyncOmniClient(url) as client:
            await client.get_models()
            await client.get_models()

    with OmniClient(serve(script)) as client:
        client.get_models()
        client.get_models()
    asyncio.run(in_async(serve(script)))
    assert len(heads) == 4
    assert not any(b"\r\ncookie:" in head for head in heads)
