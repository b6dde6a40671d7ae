"""Stand-ins for servers of other kinds, as their public documentation describes them in November 2026.

SGLang: docs/diffusion/api/openai_api.md and its protocol.py; stable-diffusion.cpp: examples/server/api.md;
LocalAI: its page on image generation and core/http/endpoints/openai/image.go.
"""

import base64
import contextlib
import io
import json
import random
import re
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from PIL import Image

Answer = tuple[int, Mapping[str, object]]

_ROUTES: Final = ("/v1/images/generations", "/v1/images/edits")
_SGLANG_FIELDS: Final = (
    *("prompt", "model", "n", "quality", "response_format", "size", "style", "background", "output_format"),
    *("user", "width", "height", "num_inference_steps", "guidance_scale", "true_cfg_scale", "seed"),
    *("generator_device", "negative_prompt", "output_quality", "output_compression", "enable_teacache"),
)
_SGLANG_FORM: Final = (
    *("image", "image[]", "url", "url[]", "prompt", "model", "n", "size", "response_format"),
    *("output_format", "background", "seed", "num_inference_steps", "guidance_scale", "true_cfg_scale"),
    *("negative_prompt",),
)


@dataclass(slots=True)
class Standing:
    """A stand-in that runs.

    Attributes:
        url: Its base URL.
        sent: What it was asked to generate or edit: the fields of each request.
        failures: How many of the next image requests it answers with 500.
    """

    url: str
    sent: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failures: int = 0


class Sglang:
    """SGLang's diffusion server: it describes itself, and sends base64 only if it is asked to."""

    model = "Qwen/Qwen-Image"

    def get(self, path: str) -> Answer:
        card = {"id": self.model, "object": "model", "owned_by": "sglang", "root": self.model}
        answers: dict[str, Answer] = {
            "/health": (200, {"status": "ok"}),
            "/v1/models": (200, {"object": "list", "data": [card]}),
            "/openapi.json": (200, self.description()),
        }
        return answers.get(path, (404, {"detail": "Not Found"}))

    def description(self) -> Mapping[str, object]:
        def body(kind: str, names: tuple[str, ...]) -> Mapping[str, object]:
            schema = {"properties": {name: {"type": "string"} for name in names}}
            return {"post": {"requestBody": {"content": {kind: {"schema": schema}}}}}

        generations, edits = _ROUTES
        return {
            "paths": {
                generations: body("application/json", _SGLANG_FIELDS),
                edits: body("multipart/form-data", _SGLANG_FORM),
            }
        }

    def generate(self, fields: Mapping[str, Any]) -> Answer:
        if fields.get("response_format", "url") != "b64_json":
            return 400, {"detail": "response_format=url is not supported"}
        image = drawn(fields, seed=fields.get("seed", 1024), kind=fields.get("output_format", "jpeg"))
        return 200, {"id": "1", "created": 1, "data": [image], "peak_memory_mb": 1.0, "inference_time_s": 0.1}


class StableDiffusionCpp:
    """stable-diffusion.cpp's server: it reads the prompt, the size and the format, and nothing else."""

    def get(self, path: str) -> Answer:
        if path != "/v1/models":
            return 404, {}
        return 200, {"data": [{"id": "sd-cpp-local", "object": "model", "owned_by": "local"}]}

    def generate(self, fields: Mapping[str, Any]) -> Answer:
        kind = fields.get("output_format", "png")
        return 200, {"created": 1, "output_format": kind, "data": [drawn(fields, seed=42, kind=kind)]}


class LocalAi:
    """LocalAI: several models of every kind, a version of its own, and URLs unless base64 is asked for."""

    models = ("llama-3.2-1b-instruct", "flux.1-dev", "whisper-1", "dreamshaper")

    def get(self, path: str) -> Answer:
        cards = [{"id": name, "object": "model"} for name in self.models]
        answers: dict[str, Answer] = {
            "/healthz": (200, {}),
            "/v1/models": (200, {"object": "list", "data": cards}),
            "/version": (200, {"version": "v3.8.0"}),
        }
        return answers.get(path, (404, {"error": {"code": 404, "message": "Resource not found", "type": ""}}))

    def generate(self, fields: Mapping[str, Any]) -> Answer:
        if fields.get("model") not in self.models:
            return 500, {"error": {"code": 500, "message": "model not found", "type": ""}}
        if fields.get("response_format") != "b64_json":
            return 200, {
                "created": 1,
                "id": "1",
                "data": [{"url": "http://localhost/generated-images/1.png"}],
            }
        return 200, {"created": 1, "id": "1", "data": [drawn(fields, seed=fields.get("seed", 0))]}


def drawn(fields: Mapping[str, Any], *, seed: int, kind: str = "png") -> Mapping[str, str]:
    """An image of the size that was asked for, with noise that depends on the seed."""
    width, height = map(int, re.findall(r"\d+", str(fields.get("size", "64x64"))))
    noise = random.Random(str(seed)).randbytes(3 * width * height)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(buffer, kind)
    return {"b64_json": base64.b64encode(buffer.getvalue()).decode()}


@contextlib.contextmanager
def serving(kind: Sglang | StableDiffusionCpp | LocalAi) -> Generator[Standing]:
    """Run a stand-in on a port."""
    standing = Standing("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(kind.get(self.path))

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            is_form = self.headers["content-type"].startswith("multipart/")
            fields = _form(content) if is_form else json.loads(content)
            if self.path not in _ROUTES or (self.path == _ROUTES[1] and isinstance(kind, LocalAi)):
                return self.answer((404, {}))
            standing.sent.append(fields)
            if standing.failures:
                standing.failures -= 1
                return self.answer((500, {"error": {"message": "something broke"}}))
            return self.answer(kind.generate(fields))

        def answer(self, answer: Answer) -> None:
            status, value = answer
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its own name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        standing.url = f"http://127.0.0.1:{server.server_port}"
        yield standing
        server.shutdown()


def _form(content: bytes) -> dict[str, Any]:
    """The text fields of a form, and the number of its images."""
    fields = re.findall(
        rb'content-disposition: form-data; name="([^"]+)"\r\n\r\n(.*?)\r\n--', content, re.DOTALL
    )
    images = content.count(b'name="image"; filename=')
    return {**{name.decode(): value.decode() for name, value in fields}, "images": images}
