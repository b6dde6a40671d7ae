"""Serve ready images from a process of its own, as vLLM-Omni 0.30.0 answers, at almost no cost.

What is measured against it is the client alone.
"""

import asyncio
import base64
import io
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

SIDES = (256, 1024, 2048)
LEVELS = (0, 1)
GRAIN = 2
JSON_TYPE = "application/json"
MODEL = "Qwen/Qwen-Image"
FIELDS = (
    "prompt",
    "n",
    "size",
    "response_format",
    "seed",
    "output_format",
    "output_compression",
    "negative_prompt",
    "num_inference_steps",
    "guidance_scale",
    "true_cfg_scale",
    "model",
)


def picture(side: int, level: int, grain: int = GRAIN) -> bytes:
    """Draw an image like a generated one: large shapes, soft edges, a little grain (of 255)."""
    from PIL import Image, ImageChops  # noqa: PLC0415  # the server's process alone needs it

    bands: list[Image.Image] = []
    for _ in range(3):
        band = Image.new("L", (side, side), 128)
        for cells, share in ((4, 0.5), (16, 0.35), (64, 0.25), (256, 0.12)):
            shapes = Image.effect_noise((cells, cells), 90).resize((side, side), Image.Resampling.BICUBIC)  # type: ignore[reportUnknownMemberType]  # Pillow's own stub
            band = Image.blend(band, shapes, share)
        bands.append(ImageChops.add(band, Image.effect_noise((side, side), grain), 1, -128))
    buffer = io.BytesIO()
    Image.merge("RGB", bands).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Prepared answers by (side, level): as JSON, and as the image itself."""

    in_json: Mapping[tuple[int, int], bytes]
    bare: Mapping[tuple[int, int], bytes]

    @classmethod
    def drawn(cls) -> "Answers":
        """Draw and encode each image once."""
        bare = {(side, level): picture(side, level) for side in SIDES for level in LEVELS}
        in_json = {
            key: json.dumps(
                {"created": 1, "data": [{"b64_json": base64.b64encode(data).decode(), "url": None}]}
            ).encode()
            for key, data in bare.items()
        }
        return cls(in_json=in_json, bare=bare)

    def to(self, request: Mapping[str, object], *, honest: bool) -> tuple[str, bytes]:
        """Answer as vLLM-Omni 0.30.0 does; unless `honest`, at level 1 whatever compression is asked for."""
        side = int(str(request["size"]).partition("x")[0])
        compression = int(str(request.get("output_compression", 100)))
        key = (side, max(0, min(9, 9 - compression // 11)) if honest else 1)
        if request.get("response_format") == "file":
            return "image/png", self.bare[key]
        return JSON_TYPE, self.in_json[key]


def describe(*, files: bool) -> bytes:
    """Describe the server; without `files`, it sends every image as base64 in JSON, as before 0.26."""
    properties: dict[str, object] = {name: {} for name in FIELDS}
    properties["response_format"] = {"enum": ["b64_json", "url", *(["file"] if files else [])]}
    schema = {"properties": properties}
    post = {"post": {"requestBody": {"content": {JSON_TYPE: {"schema": schema}}}}}
    return json.dumps({"paths": {"/v1/images/generations": post}}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """The addresses of the stand-in servers.

    `in_json` answers every request in the same bytes of JSON, `fixed` also sends files but always at PNG
    level 1, and `honest` compresses as it is asked to.
    """

    in_json: str
    fixed: str
    honest: str


@contextmanager
def stand_in() -> Generator[Urls]:
    """Start the servers in a process of their own."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Urls(
                **{
                    name: f"http://127.0.0.1:{port}"
                    for name, port in json.loads(process.stdout.readline()).items()
                }
            )
        finally:
            process.kill()


async def serve() -> None:
    """Serve on three ports, print them, and run until killed."""
    answers = Answers.drawn()
    talkers = {
        "in_json": _talker(answers, honest=False, files=False),
        "fixed": _talker(answers, honest=False, files=True),
        "honest": _talker(answers, honest=True, files=True),
    }
    servers = {name: await asyncio.start_server(talk, "127.0.0.1", 0) for name, talk in talkers.items()}
    ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    print(json.dumps(ports), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers.values()))


def _talker(
    answers: Answers, *, honest: bool, files: bool
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    sent = 0
    replies = {
        b"GET /openapi.json": describe(files=files),
        b"GET /v1/models": json.dumps({"data": [{"id": MODEL, "root": MODEL}]}).encode(),
        b"GET /version": b'{"version":"0.30.0"}',
    }

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                kind, body = JSON_TYPE, replies.get(head.partition(b" HTTP/")[0], b"{}")
                if b"/sent" in head:
                    body = b"{%d}" % sent
                elif head.startswith(b"POST"):
                    length = int(head.lower().partition(b"content-length:")[2].split()[0])
                    kind, body = answers.to(json.loads(await reader.readexactly(length)), honest=honest)
                    sent += len(body)
                writer.write(
                    f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                )
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return talk


if __name__ == "__main__":
    asyncio.run(serve())
