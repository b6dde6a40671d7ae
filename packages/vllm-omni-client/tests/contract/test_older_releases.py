"""Older releases: the simulator answers as servers of vLLM-Omni 0.20 to 0.28 did.

Each file in `recorded/` has the answers of one release: requests that each got another kind of answer.
Times, ids and pixels are taken out of them, as they are of the simulator's.
"""

import base64
import io
import json
import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NotRequired, TypedDict, cast

import httpx
import pytest
from PIL import Image
from vllm_omni_client.simulator import SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread

FOLDER: Final = Path(__file__).with_name("recorded")
MEASURED: Final = {"stage_durations", "peak_memory_mb", "metrics"}
MOMENTARY: Final = {"created", "id"}
IDS: Final = re.compile(r"\b(img_gen|img_edit)[-_][0-9a-f]+")


class Exchange(TypedDict):
    """A request, and what a server of one release answered."""

    name: str
    model: str
    method: str
    path: str
    headers: dict[str, str]
    content: NotRequired[str]
    content_base64: NotRequired[str]
    status: int
    body: object


def recorded(version: str) -> list[Exchange]:
    text = (FOLDER / f"{version}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


VERSIONS: Final = sorted(path.stem for path in FOLDER.glob("*.jsonl"))
EXCHANGES: Final = {
    f"{version} {number} {exchange['name']}": (version, exchange)
    for version in VERSIONS
    for number, exchange in enumerate(recorded(version))
}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, httpx.Client]]:
    """A simulator of each release, with the model of the recorded server."""
    clients: dict[str, httpx.Client] = {}
    with ExitStack() as opened:
        for version in VERSIONS:
            model = recorded(version)[0]["model"]
            settings = SimulatorSettings(model=model, server_version=f"{version}.0")
            url = opened.enter_context(serve_in_thread(settings))
            headers = {"accept-encoding": "identity", "connection": "close"}
            clients[version] = opened.enter_context(httpx.Client(base_url=url, timeout=60, headers=headers))
        yield clients


@pytest.mark.parametrize("name", EXCHANGES)
def test_an_older_release_answers_as_recorded(servers: dict[str, httpx.Client], name: str) -> None:
    version, exchange = EXCHANGES[name]
    content = exchange.get("content", "").encode() or base64.b64decode(exchange.get("content_base64", ""))
    response = servers[version].request(
        exchange["method"], exchange["path"], headers=exchange["headers"], content=content or None
    )
    assert {"status": response.status_code, "body": shown(response.content, response.headers)} == {
        "status": exchange["status"],
        "body": exchange["body"],
    }


def shown(content: bytes, headers: httpx.Headers) -> object:
    """The part of a body that has to be the same."""
    kind = headers.get("content-type", "").partition(";")[0]
    if kind == "application/json" and content:
        return value(json.loads(content))
    if kind.startswith("image/"):
        return picture(content)
    return kind if kind in {"text/html", "application/zip"} else content.decode()


def value(told: object, name: str = "") -> object:  # noqa: PLR0911  # a case for each kind of value
    """A value without times, ids and pixels."""
    if isinstance(told, dict):
        members = cast("dict[str, object]", told)
        if name in MEASURED:
            return {key: measured(inner) for key, inner in members.items()}
        return {key: value(inner, key) for key, inner in members.items()}
    if isinstance(told, list):
        return [value(inner, name) for inner in cast("list[object]", told)]
    if isinstance(told, str) and name == "b64_json":
        return picture(base64.b64decode(told))
    if name in MEASURED:
        return measured(told)
    if name in MOMENTARY and told is not None:
        return type(told).__name__
    return IDS.sub(r"\1-<id>", told) if isinstance(told, str) else told


def measured(told: object) -> object:
    if isinstance(told, dict):
        return {key: measured(inner) for key, inner in cast("dict[str, object]", told).items()}
    return "a number" if isinstance(told, int | float) else told


def picture(content: bytes) -> object:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        stored = image.format == "PNG" and is_stored(content)
        return [image.format, *image.size, image.mode, "stored" if stored else "packed"]


def is_stored(content: bytes) -> bool:
    """Whether a PNG's lines are uncompressed: such a deflate block starts with its length, twice."""
    at = content.index(b"IDAT") + 4
    first, length, inverse = struct.unpack_from("<BHH", content, at + 2)
    return not first & 6 and length == 0xFFFF - inverse
