"""Replies of the OpenAI images API have the images, and receipts that fit a header."""

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_mcp.jobs.batch_monitor import BatchMonitor, MonitoredImage
from vllm_image_mcp.openai_api.replies import BATCH_HEADER, RECEIPT_HEADER, images_reply
from vllm_image_mcp.openai_api.request_body import ImageBody
from vllm_image_mcp.openai_api.translation import Translation


def image(folder: Path, number: int, prompt: str = "a fox, in the style of a photo") -> MonitoredImage:
    path = folder / f"fox-{number}.png"
    path.write_bytes(f"image {number}".encode())
    used = SimpleNamespace(
        prompt=prompt, seed=number, model="klein", width=64, height=32, steps=4, guidance_scale=1.0
    )
    result = SimpleNamespace(
        file_path=str(path), parameters_used=used, reused=False, generation_time_seconds=1.5, receipt=()
    )
    shown: Any = SimpleNamespace(result=result, notes=("a note",), receipt={"width": {"confirmed": 64}})
    return cast("MonitoredImage", shown)


async def reply(
    folder: Path, count: int = 1, errors: dict[int, Exception] | None = None, **fields: object
) -> tuple[dict[str, Any], Any]:
    saved = {number: image(folder, number) for number in reversed(range(count))}
    monitor: Any = SimpleNamespace(saved=saved, errors=errors or {}, batch=SimpleNamespace(id="b-1"))
    translation = Translation(request=ImageRequest(prompt="a fox"), count=count, changes=("style: changed",))
    body = ImageBody.model_validate({"prompt": "a fox", **fields})
    answer = await images_reply(
        cast("BatchMonitor", monitor), translation, body, lambda name: f"http://x/{name}"
    )
    return json.loads(bytes(answer.body)), answer.headers


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [(None, {"b64_json", "url"}), ("b64_json", {"b64_json"}), ("url", {"url"})],
)
async def test_images_are_returned_as_bytes_or_links_as_requested(
    tmp_path: Path, wanted: str | None, keys: set[str]
) -> None:
    told, _ = await reply(tmp_path, response_format=wanted)
    [only] = told["data"]
    assert {"b64_json", "url"} & only.keys() == keys
    if "b64_json" in keys:
        assert base64.b64decode(only["b64_json"]) == b"image 0"
    if "url" in keys:
        assert only["url"] == "http://x/fox-0.png"


async def test_images_are_in_order_with_seed_receipt_and_notes(tmp_path: Path) -> None:
    told, headers = await reply(tmp_path, count=3)
    assert [each["seed"] for each in told["data"]] == [0, 1, 2]
    assert told["data"][0]["receipt"] == {"width": {"confirmed": 64}}
    assert told["data"][0]["notes"] == ["style: changed", "a note"]
    assert (told["size"], told["batch_id"], headers[BATCH_HEADER]) == ("64x32", "b-1", "b-1")
    assert [each["seed"] for each in json.loads(headers[RECEIPT_HEADER])] == [0, 1, 2]


async def test_the_prompt_is_returned_if_a_style_has_changed_it(tmp_path: Path) -> None:
    assert "revised_prompt" not in (await reply(tmp_path))[0]["data"][0]
    told, _ = await reply(tmp_path, style="vivid")
    assert told["data"][0]["revised_prompt"] == "a fox, in the style of a photo"


async def test_images_that_failed_are_listed_next_to_those_that_did_not(tmp_path: Path) -> None:
    told, _ = await reply(tmp_path, count=1, errors={1: ValueError("broken")})
    assert told["errors"] == [{"index": 1, "message": "broken"}]


async def test_receipts_that_are_too_long_for_a_header_are_those_of_the_first_images(tmp_path: Path) -> None:
    told, headers = await reply(tmp_path, count=60)
    shown = json.loads(headers[RECEIPT_HEADER])
    assert len(headers[RECEIPT_HEADER]) <= 4_000
    assert 1 < len(shown) < 60 == len(told["data"])
    assert [each["seed"] for each in shown] == list(range(len(shown)))
