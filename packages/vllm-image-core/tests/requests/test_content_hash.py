"""Content hashes: equal if the images would be equal, different if anything that shapes them differs."""

import hashlib
from dataclasses import replace

import pytest
from vllm_image_core.requests.content_hash import content_key
from vllm_image_core.requests.note import Note
from vllm_image_core.requests.resolver import ResolvedRequest

REQUEST = ResolvedRequest(
    model="Qwen/Qwen-Image",
    prompt="a red fox",
    negative_prompt=" ",
    width=1024,
    height=768,
    num_inference_steps=50,
    guidance_scale=5.0,
    guidance_field="true_cfg_scale",
    sent_guidance=5.0,
    guided=True,
    seed=42,
)


def key(request: ResolvedRequest = REQUEST, model: str = "qwen", version: str | None = "0.30.0") -> str:
    return content_key(request, model=model, server_version=version)


def test_the_key_of_a_request_is_the_same_in_every_version() -> None:
    canonical = (
        b'{"model":"qwen","operation":"generate","profile":"Qwen/Qwen-Image","request":{"n":1,'
        b'"negative_prompt":" ","num_inference_steps":50,"output_format":"png","prompt":"a red fox",'
        b'"response_format":"b64_json","seed":42,"size":"1024x768","true_cfg_scale":5.0},"schema":1,'
        b'"server_version":"0.30.0"}'
    )
    assert key() == hashlib.sha256(canonical).hexdigest()


def test_what_does_not_shape_the_image_does_not_shape_the_key() -> None:
    assert key(replace(REQUEST, notes=(Note(parameter="seed", message="drawn"),))) == key()
    assert key(replace(REQUEST, sent_guidance=5)) == key()


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a red fox "},
        {"negative_prompt": None},
        {"width": 768, "height": 1024},
        {"num_inference_steps": 51},
        {"sent_guidance": 5.000001},
        {"guidance_field": "guidance_scale"},
        {"seed": 43},
        {"seed": -42},
        {"model": "Qwen/Qwen-Image-2512"},
    ],
)
def test_every_resolved_parameter_shapes_the_key(change: dict[str, object]) -> None:
    assert key(replace(REQUEST, **change)) != key()  # type: ignore[arg-type]  # by name


def test_the_model_and_the_server_version_shape_the_key() -> None:
    keys = {key(), key(model="other"), key(version="0.31.0"), key(version=None)}
    assert len(keys) == 4
