"""Both clients on a real socket: files, edits, capabilities, and a client closed in mid-call."""

import asyncio
import base64
import io
import json
import multiprocessing
import os
import socket
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from vllm_omni_client import (
    AsyncOmniClient,
    BadReply,
    Capabilities,
    ConnectionLost,
    FailedAttempt,
    ImageEditRequest,
    ImageGenerationReply,
    ImageGenerationRequest,
    InvalidParameter,
    NotFound,
    OmniClient,
    OmniError,
    SavedImage,
    ServerError,
    UnsupportedParameter,
)
from vllm_omni_client._protocol.picture_file import with_file_format
from vllm_omni_client.simulator.http.serving import serve_in_thread

Script = Callable[[socket.socket, bytes], bool]
Serve = Callable[[Script], str]
Ask = Callable[..., object]

# An image of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNocFAAAAIkAOGVpLGLAAAAAElFTkSuQmCC"
)
IN_JSON = json.dumps(
    {"data": [{"b64_json": base64.b64encode(PNG).decode()}], "metrics": {"peak_memory_mb": 5.0}}
).encode()
FOX = ImageGenerationRequest(prompt="a fox", seed=7, size="1x1")
NEWEST = Capabilities.of_version("0.30.0")


def http(body: bytes, status: int = 200, *head: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *head]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Server:
    """A server that keeps what it is asked, and answers by path; what it has no answer for is a 404."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = answers
        self.asked: list[tuple[str, bytes]] = []

    def __call__(self, connection: socket.socket, request: bytes) -> bool:
        head, _, body = request.partition(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        self.asked.append((path, body))
        name = path.rsplit("/", 1)[-1].partition(".")[0]
        connection.sendall(self.answers.get(name, http(b'{"detail":"Not Found"}', 404)))
        return True

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def sent(self, path: str = "/v1/images/generations") -> dict[str, object]:
        return json.loads(next(body for asked, body in reversed(self.asked) if asked == path))


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Call a method of one of the two clients, without waits between attempts."""

    async def ask_async(
        url: str, method: str, *args: object, settings: dict[str, object], **more: object
    ) -> object:
        async with AsyncOmniClient(url, timeout=10.0, jitter=lambda: 0.0, **settings) as client:  # type: ignore[arg-type]  # settings of a test
            return await getattr(client, method)(*args, **more)

    def ask_sync(url: str, method: str, *args: object, settings: dict[str, object], **more: object) -> object:
        with OmniClient(url, timeout=10.0, jitter=lambda: 0.0, **settings) as client:  # type: ignore[arg-type]  # settings of a test
            return getattr(client, method)(*args, **more)

    def run(
        url: str, method: str, *args: object, settings: dict[str, object] | None = None, **more: object
    ) -> object:
        settings = {"capabilities": NEWEST, **(settings or {})}
        if request.param == "sync":
            return ask_sync(url, method, *args, settings=settings, **more)
        return asyncio.run(ask_async(url, method, *args, settings=settings, **more))

    return run


def test_an_image_goes_straight_to_its_file(ask: Ask, serve: Serve, tmp_path: Path) -> None:
    server = Server(generations=http(PNG, 200, "content-type: image/png"))
    saved = ask(serve(server), "generate_image", FOX, into=tmp_path / "fox.png")
    assert isinstance(saved, SavedImage)
    assert (saved.path, saved.format, str(saved.size), saved.length) == (
        tmp_path / "fox.png",
        "png",
        "1x1",
        len(PNG),
    )
    assert (saved.seed, saved.metrics, saved.warnings, saved.ignored_fields) == (7, None, (), ())
    assert saved.path.read_bytes() == PNG
    assert server.sent() == {
        "prompt": "a fox",
        "n": 1,
        "size": "1x1",
        "seed": 7,
        "response_format": "file",
        "output_compression": 90,
    }


def test_a_json_answer_goes_to_the_file_too_with_its_metrics(ask: Ask, serve: Serve, tmp_path: Path) -> None:
    server = Server(generations=http(IN_JSON))
    saved = ask(
        serve(server),
        "generate_image",
        FOX,
        into=tmp_path / "fox.png",
        settings={"capabilities": Capabilities()},
    )
    assert isinstance(saved, SavedImage)
    assert saved.path.read_bytes() == PNG
    assert saved.metrics
    assert saved.metrics.peak_memory_mib == 5.0
    assert server.sent()["response_format"] == "b64_json"


NO_PICTURES = {
    "cut": PNG[:-5],
    "damaged": PNG[:50] + b"\0" + PNG[51:],
    "html": b"<html>login</html>",
    "empty": b"",
    "none": b'{"data":[]}',
    "null": b'{"data":[{"b64_json":null}]}',
    "junk": b'{"data":[{"b64_json":"####"}]}',
    "error": b'{"error":{"message":"it failed"}}',
    "zip": b"PK\x03\x04junk",
}


@pytest.mark.parametrize("body", NO_PICTURES.values(), ids=NO_PICTURES)
def test_anything_but_a_complete_image_leaves_no_file(
    ask: Ask, serve: Serve, tmp_path: Path, body: bytes
) -> None:
    with pytest.raises(BadReply):
        ask(
            serve(Server(generations=http(body))),
            "generate_image",
            FOX,
            into=tmp_path / "fox.png",
            settings={"max_retries": 0},
        )
    assert list(tmp_path.iterdir()) == []


def test_a_second_attempt_writes_the_file_from_the_start(ask: Ask, serve: Serve, tmp_path: Path) -> None:
    replies = iter([http(PNG[:-9]), http(PNG)])

    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(http(b"{}") if b"/health" in request else next(replies))
        return True

    saved = ask(serve(script), "generate_image", FOX, into=tmp_path / "fox.png")
    assert isinstance(saved, SavedImage)
    assert saved.path.read_bytes() == PNG
    assert saved.receipt.attempts == 2
    assert saved.receipt.failures[0].error == "BadReply"


@pytest.mark.parametrize("fields", [{"n": 2}, {"layers": 3}])
def test_a_file_holds_one_image(ask: Ask, serve: Serve, tmp_path: Path, fields: dict[str, object]) -> None:
    server = Server()
    with pytest.raises(InvalidParameter, match="one image"):
        ask(serve(server), "generate_image", FOX.model_copy(update=fields), into=tmp_path / "x.png")
    (tmp_path / "fox.png").write_bytes(b"mine")
    with pytest.raises(InvalidParameter, match="into: "):
        ask(serve(server), "generate_image", FOX, into=5)
    with pytest.raises(InvalidParameter, match="already exists"):
        ask(serve(server), "generate_image", FOX, into=str(tmp_path / "fox.png"))
    assert server.asked == []


def zipped(*pictures: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, picture in enumerate(pictures):
            archive.writestr(f"image_{number}.png", picture)
    return buffer.getvalue()


@pytest.mark.parametrize("as_files", [True, False])
def test_complete_images_are_kept_if_another_is_damaged(ask: Ask, serve: Serve, *, as_files: bool) -> None:
    pictures = (PNG, PNG[:-5], PNG)
    in_json = {"data": [{"b64_json": base64.b64encode(one).decode()} for one in pictures]}
    body = zipped(*pictures) if as_files else json.dumps(in_json).encode()
    request = FOX.model_copy(update={"n": 3, "response_format": "file" if as_files else None})
    reply = ask(serve(Server(generations=http(body))), "generate_image", request)
    assert isinstance(reply, ImageGenerationReply)
    assert [image.bytes for image in reply.data] == [PNG, PNG]
    assert reply.warnings[0].startswith("Image 1 arrived damaged and was omitted: the PNG is cut off")
    assert not any("of 3 images arrived" in warning for warning in reply.warnings)


def test_a_reply_with_only_damaged_images_is_refused(ask: Ask, serve: Serve) -> None:
    request = FOX.model_copy(update={"response_format": "file", "n": 2})
    with pytest.raises(BadReply, match="cut off"):
        ask(serve(Server(generations=http(zipped(PNG[:-5], PNG[:-9])))), "generate_image", request)


def test_files_come_bare_or_in_a_zip(ask: Ask, serve: Serve) -> None:
    request = FOX.model_copy(update={"response_format": "file", "n": 2})
    reply = ask(serve(Server(generations=http(zipped(PNG, PNG)))), "generate_image", request)
    assert isinstance(reply, ImageGenerationReply)
    assert [image.bytes for image in reply.data] == [PNG, PNG]
    assert (reply.size, reply.output_format, reply.metrics) == ("1x1", "png", None)
    assert reply.warnings == ("Images 0 and 1 are identical, byte for byte.",)
    one = ask(serve(Server(generations=http(PNG))), "generate_image", request)
    assert isinstance(one, ImageGenerationReply)
    assert one.warnings == ("1 of 2 images arrived; missing: 1.",)


def test_a_zip_that_unpacks_to_more_than_was_requested_is_refused(ask: Ask, serve: Serve) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image_0.png", bytes(64 * 1024 * 1024))
    request = FOX.model_copy(update={"response_format": "file"})
    with pytest.raises(BadReply, match="unpacks to more"):
        ask(
            serve(Server(generations=http(buffer.getvalue()))),
            "generate_image",
            request,
            settings={"max_retries": 0},
        )


def test_a_reply_says_how_it_came_about(ask: Ask, serve: Serve) -> None:
    replies = iter([http(b"", 503, "retry-after: 0"), http(IN_JSON)])

    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(next(replies))
        return True

    request = FOX.model_copy(update={"size": "8x8"})
    url = serve(script)
    reply = ask(url, "generate_image", request)
    assert isinstance(reply, ImageGenerationReply)
    assert reply.receipt
    assert (reply.receipt.requested, reply.seed, reply.receipt.attempts) == (request, 7, 2)
    assert reply.receipt.server == url
    assert reply.receipt.failures == (
        FailedAttempt(
            error="ServerBusy",
            reason="the server answered 503, without a readable body",
            waited_seconds=0.0,
        ),
    )
    assert reply.warnings == ("Image 0 is 1x1, not 8x8.",)
    assert (reply.data[0].format, str(reply.data[0].size)) == ("png", "1x1")


def test_an_error_says_which_attempts_came_before_it(ask: Ask, serve: Serve) -> None:
    with pytest.raises(OmniError) as caught:
        ask(serve(Server(generations=http(b"", 503))), "generate_image", FOX)
    assert [one.error for one in caught.value.failures] == ["ServerBusy", "ServerBusy"]


def test_an_edit_uploads_its_images(ask: Ask, serve: Serve) -> None:
    server = Server(edits=http(IN_JSON))
    reply = ask(
        serve(server),
        "edit_image",
        ImageEditRequest(prompt="blue", seed=3),
        [PNG, io.BytesIO(PNG)],
        mask_image=PNG,
    )
    assert isinstance(reply, ImageGenerationReply)
    assert (reply.data[0].bytes, reply.seed) == (PNG, 3)
    body = server.asked[0][1]
    assert body.count(PNG) == 3
    assert body.count(b'name="image"; filename=') == 2
    assert b'name="output_compression"\r\n\r\n90\r\n' in body
    assert server.paths == ["/v1/images/edits"]


@pytest.mark.parametrize("body", [IN_JSON, PNG], ids=["in JSON", "bare"])
def test_an_edit_goes_straight_to_its_file(ask: Ask, serve: Serve, tmp_path: Path, body: bytes) -> None:
    server = Server(edits=http(body))
    request = ImageEditRequest(prompt="blue", seed=3)
    path = tmp_path / "blue.png"
    saved = ask(serve(server), "edit_image", request, PNG, into=path)
    assert isinstance(saved, SavedImage)
    assert (saved.path, saved.seed, saved.length, saved.receipt.requested) == (path, 3, len(PNG), request)
    assert path.read_bytes() == PNG
    with pytest.raises(InvalidParameter, match="the file already exists"):
        ask(serve(server), "edit_image", request, PNG, into=path)
    assert ask(serve(server), "edit_image", request, PNG, into=path, overwrite=True)
    assert server.paths == ["/v1/images/edits"] * 2
    assert list(tmp_path.iterdir()) == [path]


def test_an_edit_that_fails_leaves_no_file(ask: Ask, serve: Serve, tmp_path: Path) -> None:
    server = Server(edits=http(IN_JSON[:-30]))
    with pytest.raises(BadReply):
        ask(serve(server), "edit_image", ImageEditRequest(prompt="blue"), PNG, into=tmp_path / "blue.png")
    with pytest.raises(InvalidParameter, match="takes one image"):
        ask(serve(server), "edit_image", ImageEditRequest(prompt="blue", n=2), PNG, into=tmp_path / "b.png")
    assert not list(tmp_path.iterdir())


def test_an_edit_of_a_url_is_not_sent(ask: Ask, serve: Serve) -> None:
    server = Server()
    with pytest.raises(InvalidParameter, match="is a URL"):
        ask(serve(server), "edit_image", ImageEditRequest(prompt="blue"), "http://10.0.0.1/x.png")
    assert server.asked == []


def test_sleep_can_be_undone_unless_the_weights_were_discarded(ask: Ask) -> None:
    with serve_in_thread() as url:
        assert ask(url, "sleep") is True
        assert ask(url, "wake_up") is True
        fox = FOX.model_copy(update={"size": "64x64"})
        assert isinstance(ask(url, "generate_image", fox), ImageGenerationReply)
        assert ask(url, "sleep", level=2) is True
        with pytest.raises(ServerError, match="weights were discarded"):
            ask(url, "wake_up")


def test_a_server_sleeps_and_wakes_up(ask: Ask, serve: Serve) -> None:
    server = Server(
        sleep=http(b'{"status":"SUCCESS","acks":[]}'),
        wakeup=http(b'{"status":"SKIPPED","reason":"Target stages are not sleeping."}'),
    )
    url = serve(server)
    assert ask(url, "sleep", level=1) is True
    assert ask(url, "wake_up") is False
    assert server.asked == [
        ("/v1/omni/sleep", b'{"stage_ids":[0],"level":1}'),
        ("/v1/omni/wakeup", b'{"stage_ids":[0]}'),
    ]
    with pytest.raises(NotFound):
        ask(serve(Server()), "sleep")


ASKED: dict[str, object] = {"capabilities": None}


def test_capabilities_are_requested_once(serve: Serve) -> None:
    server = Server(version=http(b'{"version":"0.30.0"}'), generations=http(IN_JSON))
    with OmniClient(serve(server)) as client:
        for _ in range(3):
            client.generate_image(FOX)
        assert client.capabilities() == NEWEST
    assert server.paths == ["/version", "/openapi.json"] + ["/v1/images/generations"] * 3


async def test_simultaneous_calls_share_that_request(serve: Serve) -> None:
    server = Server(version=http(b'{"version":"0.26.0"}'), generations=http(IN_JSON))
    async with AsyncOmniClient(serve(server)) as client, asyncio.timeout(10):
        await asyncio.gather(*(client.generate_image(FOX) for _ in range(8)))
    assert (server.paths.count("/version"), server.paths.count("/openapi.json")) == (1, 1)
    assert server.paths.count("/v1/images/generations") == 8


def test_capabilities_of_another_version_are_requested_again(serve: Serve) -> None:
    server = Server(version=http(b'{"version":"0.26.0"}'), generations=http(IN_JSON))
    with OmniClient(serve(server)) as client:
        assert not client.capabilities().supports("generations", "output_compression")
        server.answers["version"] = http(b'{"version":"0.30.0"}')
        assert client.get_version() == "0.30.0"
        assert client.capabilities().supports("generations", "output_compression")


def test_fields_that_this_server_would_ignore_are_refused_and_not_sent(ask: Ask, serve: Serve) -> None:
    server = Server(version=http(b'{"version":"0.14.0"}'), generations=http(IN_JSON))
    request = FOX.model_copy(update={"output_format": "webp"})
    with pytest.raises(UnsupportedParameter, match=r"vLLM-Omni 0\.14\.0 does not support output_format"):
        ask(serve(server), "generate_image", request, settings=ASKED)
    assert server.paths == ["/version", "/openapi.json"]
    reply = ask(serve(server), "generate_image", request, settings={**ASKED, "strict": False})
    assert isinstance(reply, ImageGenerationReply)
    assert reply.ignored_fields == ("output_format",)
    assert "output_format" not in server.sent()


def test_a_server_that_says_nothing_is_assumed_to_accept_everything(ask: Ask, serve: Serve) -> None:
    server = Server(generations=http(IN_JSON), health=http(b"{}"))
    request = FOX.model_copy(update={"layers": 2})
    assert ask(serve(server), "generate_image", request, settings=ASKED)
    assert server.sent()["layers"] == 2
    assert ask(serve(server), "capabilities", settings=ASKED) == Capabilities()


@pytest.mark.parametrize(
    "answer", [http(b"", 503), b"", b"HTTP/1.1 200 OK\r\n"], ids=["busy", "silent", "cut"]
)
def test_a_dead_server_gets_at_most_1_1_requests_per_call_over_50_calls(serve: Serve, answer: bytes) -> None:
    asked: list[bytes] = []

    def dead(connection: socket.socket, request: bytes) -> bool:
        asked.append(request)
        connection.sendall(answer)
        return False

    with OmniClient(serve(dead), jitter=lambda: 0.0) as client:
        for _ in range(50):
            with pytest.raises(OmniError):
                client.generate_image(FOX)
    assert 50 < len(asked) <= 55


def test_a_call_has_the_retries_that_its_caller_allows(serve: Serve) -> None:
    server = Server(generations=http(b"", 503))
    with OmniClient(serve(server), capabilities=NEWEST, jitter=lambda: 0.0, max_retries=8) as client:
        for expected in (9, 10):
            with pytest.raises(OmniError):
                client.generate_image(FOX)
            assert len(server.asked) == expected


def silent(arrived: threading.Event) -> Script:
    def script(connection: socket.socket, request: bytes) -> bool:
        arrived.set()
        connection.recv(1)
        return False

    return script


def busy(arrived: threading.Event) -> Script:
    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(http(b"", 503, "retry-after: 60"))
        arrived.set()
        return True

    return script


async def test_closing_the_async_client_ends_its_calls(serve: Serve) -> None:
    arrived = threading.Event()
    client = AsyncOmniClient(serve(silent(arrived)), capabilities=NEWEST)
    async with asyncio.timeout(10):
        drawing = asyncio.create_task(client.generate_image(FOX))
        assert await asyncio.to_thread(arrived.wait, 5)
        await client.aclose()
        with pytest.raises(ConnectionLost):
            await drawing


async def test_closing_the_async_client_ends_its_waits(serve: Serve) -> None:
    waiting = asyncio.Event()

    async def for_ever(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    server = Server(generations=http(b"", 503))
    client = AsyncOmniClient(serve(server), capabilities=NEWEST, sleep=for_ever)
    async with asyncio.timeout(10):
        drawing = asyncio.create_task(client.generate_image(FOX))
        await waiting.wait()
        await client.aclose()
        with pytest.raises(ConnectionLost, match="closed while the call was in progress"):
            await drawing


@pytest.mark.parametrize("moment", [silent, busy], ids=["reading", "waiting"])
def test_closing_the_client_ends_the_calls_of_other_threads(
    serve: Serve, moment: Callable[[threading.Event], Script]
) -> None:
    arrived = threading.Event()
    client = OmniClient(serve(moment(arrived)), capabilities=NEWEST)
    ended: list[OmniError] = []

    def draw() -> None:
        try:
            client.generate_image(FOX)
        except OmniError as error:
            ended.append(error)

    thread = threading.Thread(target=draw)
    thread.start()
    assert arrived.wait(5)
    client.close()
    thread.join(5)
    assert not thread.is_alive()
    assert [type(error) for error in ended] == [ConnectionLost]
    assert "closed while the call was in progress" in ended[0].message


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of fork in a process with threads, which is the point
def test_a_client_works_on_both_sides_of_a_fork(serve: Serve) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no fork")
    server = Server(generations=http(IN_JSON))
    client = OmniClient(serve(server), capabilities=NEWEST)
    client.generate_image(FOX)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: os._exit(0 if client.generate_image(FOX).seed == 7 else 1)
    )
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert client.generate_image(FOX).seed == 7
    client.close()


@pytest.mark.parametrize(
    ("name", "asked", "sent"),
    [
        ("fox.jpg", None, "jpeg"),
        ("fox.JPEG", None, "jpeg"),
        ("fox.webp", None, "webp"),
        ("fox.png", None, None),
        ("fox", None, None),
        ("fox.jpg", "png", "png"),
    ],
)
def test_the_extension_of_a_file_decides_the_format_if_the_request_does_not(
    name: str, asked: str | None, sent: str | None
) -> None:
    generation = FOX.model_copy(update={"output_format": asked})
    edit = ImageEditRequest(prompt="a fox").model_copy(update={"output_format": asked})
    assert with_file_format(generation, name).output_format == sent
    assert with_file_format(edit, Path(name)).output_format == sent
    assert with_file_format(generation, None).output_format == asked


def test_a_file_named_jpg_is_requested_as_a_jpeg(ask: Ask, serve: Serve, tmp_path: Path) -> None:
    server = Server(generations=http(PNG, 200, "content-type: image/png"))
    saved = ask(serve(server), "generate_image", FOX, into=tmp_path / "fox.jpg")
    assert isinstance(saved, SavedImage)
    assert server.sent()["output_format"] == "jpeg"
    assert "PNG" in " ".join(saved.warnings)


@pytest.mark.parametrize("name", ["fox.gif", "fox.TIFF", "fox.avif"])
def test_a_file_of_another_format_is_refused_before_anything_is_sent(
    ask: Ask, serve: Serve, tmp_path: Path, name: str
) -> None:
    server = Server()
    with pytest.raises(InvalidParameter, match=r"use \.png, \.jpg or \.webp"):
        ask(serve(server), "generate_image", FOX, into=tmp_path / name)
    assert (list(tmp_path.iterdir()), server.asked) == ([], [])
