"""One request to both: the simulator answers like the real server, except for time, ids and pixels.

It needs a real server (OMNI_URL): a simulator is started as it was, and asked the same things beside it.
"""

import base64
import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import httpx
import pytest
from PIL import Image
from vllm_omni_client.simulator import SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread

REAL_URL = os.environ.get("OMNI_URL")
REAL_KEY = os.environ.get("OMNI_API_KEY")
pytestmark = pytest.mark.skipif(not REAL_URL, reason="there is no real server to compare with (OMNI_URL)")

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
HEADERS: Final = ("content-type", "vary", "allow", "www-authenticate", "content-disposition", "location")
# What differs from call to call, and from machine to machine.
MEASURED: Final = {"stage_durations", "peak_memory_mb", "metrics", "freed_bytes", "metadata"}
MOMENTARY: Final = {"created", "created_at", "id", "request_id", "task_id"}


def picture(
    mode: str = "RGB", size: tuple[int, int] = (64, 64), kind: str = "PNG", colour: int | tuple[int, ...] = 40
) -> bytes:
    buffer = io.BytesIO()
    Image.new(
        mode, size, colour if isinstance(colour, tuple) or mode in "LP" else (colour,) * len(mode)
    ).save(buffer, kind)
    return buffer.getvalue()


PNG: Final = picture()
DATA_URL: Final = "data:image/png;base64," + base64.b64encode(PNG).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request, as it is sent to both."""

    method: str = "POST"
    path: str = GENERATIONS
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    form: Mapping[str, str] | None = None
    files: Sequence[tuple[str, tuple[str | None, bytes, str]]] = ()
    keyless: bool = False

    def to(self, client: httpx.Client, key: str | None) -> httpx.Response:
        # A connection of its own: where its code crashes, the server closes one without announcing it.
        headers = {"connection": "close", **self.headers}
        if key and not self.keyless:
            headers["authorization"] = f"Bearer {key}"
        return client.request(
            self.method,
            self.path,
            headers=headers,
            content=self.content,
            data=self.form,
            files=list(self.files) or None,
        )


def drawn(**fields: object) -> Sent:
    """A small generation, with some fields changed; a field of `...` is left out."""
    small = {"prompt": "a red fox", "size": "64x64", "num_inference_steps": 1, "seed": 7} | fields
    return of_json(GENERATIONS, {name: value for name, value in small.items() if value is not ...})


def of_json(path: str, body: object, **more: str) -> Sent:
    return Sent(
        path=path, content=json.dumps(body).encode(), headers={"content-type": "application/json", **more}
    )


def upload(
    content: bytes = PNG, name: str = "image", kind: str = "image/png"
) -> tuple[str, tuple[str | None, bytes, str]]:
    return (name, ("a.png", content, kind))


def edited(*files: tuple[str, tuple[str | None, bytes, str]], **fields: str | None) -> Sent:
    """A small edit, with some fields changed; a field of None is left out."""
    small = {"prompt": "a red fox", "num_inference_steps": "1", "seed": "7"} | fields
    form = {name: value for name, value in small.items() if value is not None}
    return Sent(path=EDITS, form=form, files=files or (upload(),))


def bare(**fields: str | None) -> Sent:
    """An edit without files, as a form without parts."""
    small = {"prompt": "a red fox", "num_inference_steps": "1", "seed": "7"} | fields
    return Sent(path=EDITS, form={name: value for name, value in small.items() if value is not None})


def nested(depth: int) -> object:
    """Nested objects."""
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def got(path: str, method: str = "GET", **headers: str) -> Sent:
    return Sent(method=method, path=path, headers=headers)


LORA: Final = {"name": "style", "path": "/nowhere/style"}

PLAIN: Final = {
    "plain": drawn(),
    "seed left out": drawn(seed=...),
    "negative seed": drawn(seed=-1),
    "largest seed": drawn(seed=2**63 - 1),
    "seed in a string": drawn(seed="7"),
    "two": drawn(n=2),
    "three as webp": drawn(n=3, output_format="webp"),
    "jpeg": drawn(output_format="jpeg"),
    "jpg": drawn(output_format="jpg"),
    "JPEG": drawn(output_format="JPEG"),
    "gif": drawn(output_format="gif"),
    "no format": drawn(output_format=""),
    "null format": drawn(output_format=None),
    "quality": drawn(output_format="jpeg", output_compression=1),
    "smallest": drawn(output_compression=0),
    "middle": drawn(output_compression=45),
    "no multiple": drawn(size="65x67"),
    "wide": drawn(size="128x32"),
    "spaces in the size": drawn(size=" 64x64 "),
    "plus in the size": drawn(size="+64x6_4"),
    "8x8": drawn(size="8x8"),
    "size null": drawn(size=None, num_inference_steps=1),
    "steps in a string": drawn(num_inference_steps="2"),
    "steps as a float": drawn(num_inference_steps=2.0),
    "guidance 0": drawn(guidance_scale=0),
    "guidance 20": drawn(guidance_scale=20),
    "true cfg": drawn(true_cfg_scale=4, negative_prompt="blurry"),
    "negative prompt": drawn(negative_prompt=" "),
    "empty prompt": drawn(prompt=""),
    "blank prompt": drawn(prompt="  \n"),
    "emoji": drawn(prompt="🦊 im Schnee, 雪の中"),
    "surrogate": drawn(prompt="\ud800"),
    "long prompt": drawn(prompt="fox " * 3000),
    "unknown field": drawn(steps=3, quality="hd", style="vivid", stream=True),
    "user": drawn(user="me"),
    "layers": drawn(layers=3),
    "flow shift": drawn(flow_shift=3.0),
    "extra params": drawn(extra_params={"a": 1}),
    "generator device": drawn(generator_device="cpu"),
    "no such device": drawn(generator_device="abacus"),
    "stage metrics": drawn(return_stage_metrics=True),
    "vae": drawn(vae_use_slicing=True, vae_use_tiling=True),
    "system prompt": drawn(system_prompt="x", use_system_prompt="custom", bot_task="think"),
    "file": drawn(response_format="file"),
    "file as jpeg": drawn(response_format="file", output_format="jpeg"),
    "file as webp": drawn(response_format="file", output_format="webp"),
    "files": drawn(response_format="file", n=2),
    "files as jpeg": drawn(response_format="file", n=2, output_format="jpeg"),
    "device of a bad form": drawn(generator_device="cpu:01"),
    "device empty": drawn(generator_device=""),
    "lora": drawn(lora=LORA),
    "lora by the name of a repository": drawn(lora={"name": "style", "path": "me/style"}),
    "lora without a path": drawn(lora={"name": "style"}),
    "lora empty": drawn(lora={}),
    "lora with id 0": drawn(lora={**LORA, "int_id": 0}),
    "lora of no repository": drawn(lora={"name": "style", "path": "a--b"}),
    "lora that ends in a slash": drawn(lora={"name": "style", "path": "/nowhere/style/"}),
    "lora in the folder above": drawn(lora={"name": "style", "path": ".."}),
    "lora at home": drawn(lora={"name": "style", "path": "~/style"}),
    "lora with half a character": drawn(lora={"name": "style", "path": "\ud800"}),
    "device without noise": drawn(generator_device="meta"),
    "device with a quote": drawn(generator_device="a'b"),
    "device with a zero byte": drawn(generator_device="cpu\0"),
    "device of half a character": drawn(generator_device="\ud800"),
    "device on no card": drawn(generator_device="cuda"),
    "lora with the scale 0": drawn(lora={**LORA, "scale": 0}),
    "device far away": drawn(generator_device="cpu:2147483648"),
    "system prompt of half a character": drawn(use_system_prompt="\ud800"),
    "negative half a character": drawn(negative_prompt="\ud800", true_cfg_scale=4),
    "negative prompt too long": drawn(negative_prompt="fox " * 5000),
    "parameters nested 400 deep": of_json(
        GENERATIONS,
        {"prompt": "a", "size": "64x64", "num_inference_steps": 1, "extra_params": nested(400)},
    ),
}
REFUSED: Final = {
    "n 11": drawn(n=11),
    "n 0": drawn(n=0),
    "n null": drawn(n=None),
    "no prompt": drawn(prompt=...),
    "prompt null": drawn(prompt=None),
    "many wrong": drawn(n=11, num_inference_steps=0, guidance_scale=21, seed=2**63, size="auto", layers=1),
    "size auto": drawn(size="auto"),
    "size X": drawn(size="64X64"),
    "size half": drawn(size="64x"),
    "size 0": drawn(size="0x0"),
    "size negative": drawn(size="-1x64"),
    "size three": drawn(size="1x2x3"),
    "too many pixels": drawn(size="8000x8000"),
    "steps 201": drawn(num_inference_steps=201),
    "steps half": drawn(num_inference_steps=1.5),
    "guidance -1": drawn(guidance_scale=-1),
    "url": drawn(response_format="url"),
    "response format null": drawn(response_format=None),
    "unknown response format": drawn(response_format="x"),
    "compression 101": drawn(output_compression=101),
    "layers 11": drawn(layers=11),
    "seed large": drawn(seed=2**70),
    "system prompt name": drawn(use_system_prompt="x"),
    "other model": drawn(model="no-such-model"),
    "other model by a path": drawn(model="/home/me/model.bin"),
    "empty model": drawn(model=""),
    "list": of_json(GENERATIONS, []),
    "text": of_json(GENERATIONS, "x"),
    "null": of_json(GENERATIONS, None),
    "no body": Sent(headers={"content-type": "application/json"}, content=b""),
    "no type": Sent(content=b"{}"),
    "text/plain": Sent(content=b'{"prompt":"a"}', headers={"content-type": "text/plain"}),
    "json+": Sent(content=b'{"prompt":"a"}', headers={"content-type": "application/vnd.x+json"}),
    "charset": Sent(content=b"{", headers={"content-type": "application/json; charset=utf-8"}),
    "half json": Sent(content=b'{"prompt": "a', headers={"content-type": "application/json"}),
    "not utf-8": Sent(content=b'{"prompt": "\xff"}', headers={"content-type": "application/json"}),
    "NaN": Sent(
        content=b'{"prompt": "a", "guidance_scale": NaN}', headers={"content-type": "application/json"}
    ),
    "a form": Sent(form={"prompt": "a"}),
}
EDITED: Final = {
    "plain edit": edited(),
    "image[]": edited(upload(name="image[]")),
    "both names": edited(upload(), upload(picture(size=(32, 32)), "image[]")),
    "two inputs": edited(upload(), upload()),
    "four inputs": edited(*[upload()] * 4),
    "five inputs": edited(*[upload()] * 5),
    "no input": bare(),
    "wrong file": edited(upload(name="foo")),
    "edit without a prompt": edited(prompt=None),
    "edit with an empty prompt": edited(prompt=""),
    "edit n 2": edited(n="2"),
    "edit n x": edited(n="x"),
    "edit n 1.5": edited(n="1.5"),
    "edit size": edited(size="32x32"),
    "edit AUTO": edited(size="AUTO"),
    "edit size X": edited(size="64X64"),
    "edit size 0": edited(size="0x0"),
    "edit too large": edited(size="9000x9000"),
    "edit size no multiple": edited(size="65x67"),
    "edit file": edited(response_format="file"),
    "edit url": edited(response_format="url"),
    "edit jpeg": edited(output_format="jpeg"),
    "edit webp": edited(output_format="webp"),
    "edit gif": edited(output_format="gif"),
    "edit transparent": edited(background="transparent", output_format="x"),
    "edit compression": edited(output_compression="101"),
    "edit stream": edited(stream="true"),
    "edit steps 0": edited(num_inference_steps="0"),
    "edit steps -1": edited(num_inference_steps="-1"),
    "edit steps x": edited(num_inference_steps="x"),
    "edit steps 201": edited(num_inference_steps="201"),
    "edit steps 2^61": edited(num_inference_steps=str(2**61)),
    "edit steps 2^63": edited(num_inference_steps=str(2**63)),
    "edit steps 2^64": edited(num_inference_steps=str(2**64)),
    "mask of two inputs": edited(upload(), upload(), upload(picture("L", colour=255), "mask_image")),
    "mask of another size": edited(upload(), upload(picture("L", colour=255), "mask_image"), size="32x32"),
    "image[] as text": bare(**{"image[]": "abc"}),
    "data url with padding inside": bare(url="data:image/png;base64,AA==A"),
    "data url with one character": bare(url="data:image/png;base64,A"),
    "address with a bad port": bare(url="http://127.0.0.1:x/"),
    "address of no IPv4": bare(url="http://256.1.1.1/"),
    "address of no IPv6": bare(url="http://[x]/"),
    "address of another protocol": bare(url="httpx://127.0.0.1/"),
    "address of no IDNA": bare(url="http://xn--a.invalid/"),
    "address in fewer numbers": bare(url="http://127.1:1/"),
    "address with a line break": bare(url="http://a\nb/"),
    "edit lora nested": edited(lora="[" * 5000),
    "edit guidance": edited(guidance_scale="25"),
    "edit guidance x": edited(guidance_scale="x"),
    "edit strength 0.5": edited(strength="0.5"),
    "edit strength 2": edited(strength="2"),
    "edit strength nan": edited(strength="nan"),
    "tiny reference": edited(upload(), upload(picture(size=(15, 40)), "reference_image")),
    "address without a host": bare(url="http://"),
    "address of nobody": bare(url="http://127.0.0.1:1/x.png"),
    "address of no name": bare(url="http://no-such-host.invalid/x.png"),
    "edit seed large": edited(seed="99999999999999999999"),
    "edit seed x": edited(seed="x"),
    "edit device": edited(generator_device="abacus"),
    "edit lora half": edited(lora="{"),
    "edit lora list": edited(lora="[]"),
    "edit lora": edited(lora=json.dumps(LORA)),
    "edit lora null": edited(lora="null"),
    "edit layers 1": edited(layers="1"),
    "edit layers 3": edited(layers="3"),
    "edit resolution": edited(resolution="100"),
    "edit resolution and size": edited(resolution="640", size="64x64"),
    "edit bot task": edited(bot_task="x"),
    "edit metrics": edited(return_stage_metrics="true"),
    "edit other model": edited(model="x"),
    "edit unknown field": edited(flow_shift="1", foo="x"),
    "mask": edited(upload(), upload(picture("L", colour=255), "mask_image")),
    "mask junk": edited(upload(), upload(b"junk", "mask_image")),
    "mask text": edited(mask_image="junk"),
    "mask data url": edited(mask_image=DATA_URL),
    "openai's mask": edited(upload(), upload(name="mask")),
    "reference": edited(upload(), upload(name="reference_image")),
    "junk input": edited(upload(b"junk")),
    "empty input": edited(upload(b"")),
    "cut input": edited(upload(PNG[:60])),
    "cut input, and a size of nothing": edited(upload(PNG[:60]), size="15x64"),
    "cut input with a task": edited(upload(PNG[:60]), bot_task="think"),
    "no prompt, and too many steps": edited(prompt=" ", num_inference_steps=str(2**61)),
    "jpeg input": edited(upload(picture(kind="JPEG"))),
    "rgba input": edited(upload(picture("RGBA"))),
    "grey input": edited(upload(picture("L"))),
    "odd input": edited(upload(picture(size=(33, 50)))),
    "tiny input": edited(upload(picture(size=(8, 8)))),
    "data url": bare(url=DATA_URL),
    "url[]": bare(**{"url[]": DATA_URL}),
    "bad data url": bare(url="data:image/png;base64,@@@"),
    "junk url": bare(url="junk"),
    "empty url": bare(url=""),
    "large field": edited(upload(), ("foo", (None, b"x" * (1024 * 1024 + 1), "text/plain"))),
    "image as text": bare(image="abc"),
    "edit as json": of_json(EDITS, {"prompt": "a"}),
    "edit of nothing": Sent(path=EDITS),
    "edit without a boundary": Sent(
        path=EDITS, content=b"junk", headers={"content-type": "multipart/form-data"}
    ),
    "edit of junk": Sent(
        path=EDITS, content=b"junk", headers={"content-type": "multipart/form-data; boundary=x"}
    ),
}
ROUTES: Final = {
    "models": got("/v1/models"),
    "health": got("/health"),
    "version": got("/version"),
    "load": got("/load"),
    "ping": got("/ping"),
    "ping by post": got("/ping", "POST"),
    "models with a query": got("/v1/models?x=1"),
    "unknown route": got("/v1/nothing"),
    "root": got("/"),
    "one model": got("/v1/models/x"),
    "variations": got("/v1/images/variations", "POST"),
    "get generations": got(GENERATIONS),
    "get edits": got(EDITS),
    "put generations": got(GENERATIONS, "PUT"),
    "delete models": got("/v1/models", "DELETE"),
    "head models": got("/v1/models", "HEAD"),
    "head health": got("/health", "HEAD"),
    "post health": got("/health", "POST"),
    "no such method": got(GENERATIONS, "FOO"),
    "propfind": got("/v1/models", "PROPFIND"),
    "trailing slash": got("/v1/models/"),
    "doubled slash": got("//v1/models"),
    "doubled v1": got("/v1/v1/models"),
    "options": got(GENERATIONS, "OPTIONS"),
    "preflight": got(
        GENERATIONS,
        "OPTIONS",
        **{"origin": "http://x", "access-control-request-method": "POST"},
    ),
    "wake when awake": of_json("/v1/omni/wakeup", {"stage_ids": [0]}),
    "sleep of nothing": of_json("/v1/omni/sleep", {}),
    "sleep text": of_json("/v1/omni/sleep", {"stage_ids": "x"}),
    "wake as text": Sent(
        path="/v1/omni/wakeup", content=b'{"stage_ids":[0]}', headers={"content-type": "text/plain"}
    ),
    "metrics by trace": got("/metrics", "TRACE"),
    "wake list": of_json("/v1/omni/wakeup", []),
    "metrics": got("/metrics"),
    "metrics below": got("/metrics/of/something"),
    "metrics by post": got("/metrics", "POST", accept="application/openmetrics-text; version=1.0.0"),
    "some metrics": got("/metrics/?name[]=python_info", "PUT"),
    "metrics in a fragment": got("/metrics#python_info"),
}
VIDEOS: Final = {
    "videos": got("/v1/videos"),
    "no video": got("/v1/videos/x"),
    "no video's content": got("/v1/videos/x/content"),
    "no video to delete": got("/v1/videos/x", "DELETE"),
    "put videos": got("/v1/videos", "PUT"),
    "get a conversation": got("/v1/chat/completions"),
}
KEYLESS: Final = {
    "no key": Sent(method="GET", path="/v1/models", keyless=True),
    "wrong key": got("/v1/models", authorization="Bearer wrong"),
    "key without a scheme": got("/v1/models", authorization="open-sesame"),
    "no key, junk": Sent(content=b"junk", keyless=True),
    "no key, unknown route": Sent(method="GET", path="/v1/nothing", keyless=True),
    "no key, health": Sent(method="GET", path="/health", keyless=True),
    "no key, options": Sent(method="OPTIONS", path=GENERATIONS, keyless=True),
}
EXCHANGES: Final = {**PLAIN, **REFUSED, **EDITED, **ROUTES, **VIDEOS, **KEYLESS}


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """The real server, and a simulator that was started as it was."""
    assert REAL_URL
    headers = {"accept-encoding": "identity"}
    with httpx.Client(base_url=REAL_URL, timeout=120, headers=headers) as real:
        key = {"authorization": f"Bearer {REAL_KEY}"} if REAL_KEY else {}
        cards = real.get("/v1/models", headers=key).json()["data"]
        settings = SimulatorSettings(
            model=cards[0]["root"],
            served_model_name=tuple(card["id"] for card in cards),
            api_key=REAL_KEY,
            vram_gib=0.0 if "REAL_SERVER" in os.environ else None,  # it runs on this machine's CPU
        )
        with (
            serve_in_thread(settings) as url,
            httpx.Client(base_url=url, timeout=60, headers=headers) as simulated,
        ):
            yield real, simulated


@pytest.mark.parametrize("name", EXCHANGES)
def test_one_request_has_the_same_answer_from_both(
    both: tuple[httpx.Client, httpx.Client], name: str
) -> None:
    real, simulated = (_shown(EXCHANGES[name].to(client, REAL_KEY)) for client in both)
    assert simulated == real


def _shown(response: httpx.Response) -> object:
    """The part of an answer that has to be the same."""
    headers = {name: _momentary(response.headers[name]) for name in HEADERS if name in response.headers}
    declared = response.headers.get("content-length")
    if response.request.method != "HEAD" and declared is not None:
        assert int(declared) == len(response.content)
    return {"status": response.status_code, "headers": headers, "body": _body(response)}


def _body(response: httpx.Response) -> object:
    kind = response.headers.get("content-type", "").partition(";")[0]
    if kind == "application/json" and response.content:
        return _value(response.json())
    if kind == "application/zip":
        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            return {name: _pictured(archive.read(name)) for name in archive.namelist()}
    if kind.startswith("image/"):
        return _pictured(response.content)
    return _families(response.text) if response.request.url.path.startswith("/metrics") else response.text


def _value(value: object, name: str = "") -> object:
    """A value without time, ids and pixels."""
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        plain = _measured if name in MEASURED else _value
        return {key: plain(inner, key) for key, inner in members.items()}
    if isinstance(value, list):
        return [_value(inner, name) for inner in cast("list[object]", value)]
    if isinstance(value, str) and (name == "b64_json" or value.startswith("data:image/")):
        return _pictured(base64.b64decode(value.rpartition(",")[2], validate=True))
    if name in MEASURED:
        return _measured(value)
    if isinstance(value, str) and name == "message":
        return re.sub(r"got \d+ tokens", "got <some> tokens", value)  # each model has its own tokenizer
    return type(value).__name__ if name in MOMENTARY and isinstance(value, str | int) else value


def _measured(value: object, _: str = "") -> object:
    if isinstance(value, dict):
        return {key: _measured(inner) for key, inner in cast("dict[str, object]", value).items()}
    return (
        "a number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def _pictured(data: bytes) -> object:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        stored = image.format == "PNG" and _is_stored(data)
        return (image.format, image.size, image.mode, "stored" if stored else "packed")


def _is_stored(data: bytes) -> bool:
    """Whether a PNG's lines are uncompressed: such a deflate block starts with its length, twice."""
    at = data.index(b"IDAT") + 4
    first, length, inverse = struct.unpack_from("<BHH", data, at + 2)
    return not first & 6 and length == 0xFFFF - inverse


def _momentary(text: str) -> str:
    return re.sub(r":\d+/", ":<port>/", re.sub(r"_[0-9a-f]{8}\.", "_<id>.", text))


def _families(text: str) -> object:
    """The families in their order, and the names of their labels."""
    kinds = re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE)
    labels = {
        (name, tuple(re.findall(r'(\w+)="', inside)))
        for name, inside in re.findall(r"^([a-z_:]+)(?:\{(.*)\})? \S+$", text, re.MULTILINE)
    }
    return kinds, labels
