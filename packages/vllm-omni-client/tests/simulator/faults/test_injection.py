import base64
import io
import json
import socket
import time
import zlib
from collections.abc import Generator
from contextlib import contextmanager

import httpx
import pytest
from PIL import Image
from vllm_omni_client.simulator import Simulation, SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread, serve_simulation

PATH = "/v1/images/generations"
REQUEST = {"prompt": "a red fox", "size": "64x64", "num_inference_steps": 1, "seed": 7}
SECONDS = 20.0


@contextmanager
def broken(*faults: str, **settings: object) -> Generator[httpx.Client]:
    """A connection to a server on a port that has these faults."""
    chosen = SimulatorSettings.model_validate({"faults": faults, **settings})
    with serve_in_thread(chosen) as url, httpx.Client(base_url=url, timeout=SECONDS) as client:
        yield client


def ask(client: httpx.Client, **fields: object) -> httpx.Response:
    return client.post(PATH, json=REQUEST | fields)


def raw(client: httpx.Client) -> tuple[bytes, bool]:
    """What comes over a bare socket until it ends, and whether it ended by a reset."""
    host, port = client.base_url.host, client.base_url.port
    body = json.dumps(REQUEST).encode()
    lines = (f"POST {PATH} HTTP/1.1", "Host: x", "Content-Type: application/json")
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    received = b""
    with socket.create_connection((host, port or 0), timeout=SECONDS) as connection:
        connection.sendall(head.encode() + body)
        while True:
            try:
                chunk = connection.recv(65536)
            except ConnectionResetError:
                return received, True
            if not chunk:
                return received, False
            received += chunk


def pictures(response: httpx.Response) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(each["b64_json"], validate=True)))
        for each in response.json()["data"]
    ]


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        ("status@1", 503, None),
        ("status,status=429,retry_after=7@1", 429, "7"),
        ("status,status=529@1", 529, None),
    ],
)
def test_a_status_comes_with_or_without_retry_after_and_only_once(
    fault: str, status: int, retry_after: str | None
) -> None:
    with broken(fault) as client:
        first, second = ask(client), ask(client)
    assert (first.status_code, first.headers.get("retry-after")) == (status, retry_after)
    assert first.json()["error"]["code"] == status
    assert second.status_code == 200


def test_a_page_of_a_proxy_comes_in_place_of_json() -> None:
    with broken("html@1", "html,status=200@2") as client:
        for status in (502, 200):
            response = ask(client)
            assert response.status_code == status
            assert response.headers["content-type"] == "text/html; charset=utf-8"
            assert "<h1>" in response.text


def test_a_delay_comes_before_the_reply() -> None:
    with broken("delay,seconds=0.4@1") as client:
        began = time.monotonic()
        assert ask(client).status_code == 200
        assert time.monotonic() - began >= 0.4


def test_a_reset_before_the_reply() -> None:
    with broken("reset-before@1") as client:
        assert raw(client) == (b"", True)
        assert ask(client).status_code == 200


def test_a_reset_in_the_body() -> None:
    with broken("reset-in@1") as client:
        received, reset = raw(client)
        head, _, body = received.partition(b"\r\n\r\n")
        assert reset
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert 0 < len(body) < length_in(head)


def test_a_reset_after_the_body() -> None:
    with broken("reset-after@1") as client:
        received, reset = raw(client)
        head, _, body = received.partition(b"\r\n\r\n")
        assert reset
        assert len(body) == length_in(head)


def length_in(head: bytes) -> int:
    lines = head.lower().splitlines()
    return next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))


def test_a_truncated_reply_ends_cleanly_and_too_early() -> None:
    with broken("truncate@1") as client:
        received, reset = raw(client)
        head, _, body = received.partition(b"\r\n\r\n")
        assert not reset
        assert len(body) == length_in(head) // 2


def test_a_reply_trickles_byte_by_byte() -> None:
    with broken("trickle,seconds=0.05@1") as client:
        began = time.monotonic()
        with client.stream("POST", PATH, json=REQUEST) as response:
            parts = response.iter_raw()
            assert [len(next(parts)) for _ in range(5)] == [1] * 5
        assert time.monotonic() - began >= 0.2


def test_json_that_ends_too_early() -> None:
    with broken("no-json@1") as client:
        response = ask(client)
    assert response.headers["content-type"] == "application/json"
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_json_of_the_wrong_types() -> None:
    with broken("wrong-types@1") as client:
        body = ask(client).json()
    assert (type(body["created"]), type(body["data"]), type(body["size"])) == (str, dict, int)


def test_base64_that_is_invalid() -> None:
    with broken("junk-base64@1") as client:
        body = ask(client).json()
    with pytest.raises(ValueError, match="base64"):
        base64.b64decode(body["data"][0]["b64_json"], validate=True)


def test_images_of_half_the_size_while_the_reply_states_the_full_size() -> None:
    with broken("wrong-size") as client:
        response = ask(client)
        as_file = ask(client, response_format="file", output_format="webp")
    assert response.json()["size"] == "64x64"
    assert [picture.size for picture in pictures(response)] == [(32, 32)]
    picture = Image.open(io.BytesIO(as_file.content))
    assert (picture.size, picture.format) == ((32, 32), "WEBP")
    assert int(as_file.headers["content-length"]) == len(as_file.content)


def test_fewer_images_than_requested() -> None:
    with broken("fewer") as client:
        assert [len(ask(client, n=n).json()["data"]) for n in (1, 3)] == [0, 2]


def test_black_images() -> None:
    with broken("black") as client:
        response = ask(client, n=2, output_format="jpeg")
    assert [(picture.format, picture.getextrema()) for picture in pictures(response)] == [
        ("JPEG", ((0, 0), (0, 0), (0, 0)))
    ] * 2


def test_a_bomb_decompresses_to_the_requested_size() -> None:
    with broken("gzip-bomb,mebibytes=3") as client, client.stream("POST", PATH, json=REQUEST) as response:
        packed = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip"
    assert len(packed) < 20_000
    assert len(zlib.decompress(packed, wbits=31)) == 3 * 1024 * 1024


def test_out_of_memory_is_reported_as_the_server_reports_it() -> None:
    with broken("out-of-memory@1") as client:
        response = ask(client)
        assert response.status_code == 500
        assert "CUDA out of memory" in response.json()["error"]["message"]
        assert ask(client).status_code == 200


def test_a_dead_engine_stays_dead() -> None:
    with broken("engine-death@2") as client:
        assert ask(client).status_code == 200
        assert client.get("/health").status_code == 200
        for _ in range(2):
            response = ask(client)
            error = response.json()["error"]
            assert (response.status_code, error["type"]) == (500, "InternalServerError")
            assert error["request_id"].startswith("img_gen-")
            health = client.get("/health")
            assert (health.status_code, health.json()) == (503, {"status": "unhealthy"})


def test_an_older_server_is_unhealthy_without_a_note() -> None:
    with broken("engine-death@1", server_version="0.26.0") as client:
        ask(client)
        response = client.get("/health")
        assert (response.status_code, response.content) == (503, b"")


def test_another_model_is_served_after_a_swap() -> None:
    with broken("model-swap,name=other@2") as client:
        [card] = client.get("/v1/models").json()["data"]
        statuses = [ask(client, model=card["id"]).status_code for _ in range(2)]
        swapped = [card["id"] for card in client.get("/v1/models").json()["data"]]
    assert (statuses, swapped) == ([200, 400], ["other"])


def test_edits_are_affected_by_faults_too() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    form = {"prompt": "a", "num_inference_steps": "1"}
    with broken("black@1") as client:
        response = client.post("/v1/images/edits", data=form, files={"image": buffer.getvalue()})
    assert [picture.getextrema() for picture in pictures(response)] == [((0, 0), (0, 0), (0, 0))]


def test_an_error_is_not_corrupted() -> None:
    with broken("black") as client:
        assert ask(client, n=11).json()["error"]["param"] == "body.n"


def test_a_fault_may_be_limited_to_another_path() -> None:
    with broken("status,status=500,path=/health@1") as client:
        assert [client.get("/health").status_code for _ in range(2)] == [500, 200]


async def test_in_one_process_a_broken_connection_is_an_error_of_the_caller() -> None:
    simulation = Simulation(SimulatorSettings.model_validate({"faults": ["reset-before@1"]}))
    transport = httpx.ASGITransport(simulation.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
        with pytest.raises(ConnectionResetError):
            await http.post(PATH, json=REQUEST)
        assert (await http.post(PATH, json=REQUEST)).status_code == 200


def test_a_simulation_is_controlled_while_it_runs() -> None:
    simulation = Simulation()
    with serve_simulation(simulation) as url, httpx.Client(base_url=url, timeout=SECONDS) as client:
        assert ask(client).status_code == 200
        simulation.faults.add("status@1")
        assert [ask(client).status_code for _ in range(2)] == [503, 200]
        assert simulation.faults.counts() == {"status@1": 1}


@pytest.mark.parametrize("kind", ["fewer", "black", "junk-base64", "wrong-size"])
def test_a_reply_without_images_to_corrupt_stays_unchanged(kind: str) -> None:
    with broken(f"{kind},path=/") as client:
        assert client.get("/v1/models").json()["data"][0]["object"] == "model"
        assert client.get("/health").json() == {"status": "healthy"}
