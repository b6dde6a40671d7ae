"""What is resolved is accepted by the server's own request model, for every profile.

`image_generation_request.json` is the schema `ImageGenerationRequest` of `/openapi.json` of a vLLM-Omni
0.30.0 server, without descriptions. The server ignores fields that it does not know, so here they are faults.
"""

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.quality import Quality
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import resolve

SCHEMA: dict[str, Any] = {
    **json.loads((Path(__file__).parent / "image_generation_request.json").read_text("utf-8")),
    "additionalProperties": False,
}
REGISTRY = Registry.builtin()
PROFILES = (*REGISTRY.profiles, REGISTRY.fallback)


def sent(request: ImageRequest, profile: Profile) -> dict[str, Any]:
    images = 0 if profile.text_to_image else 1
    return json.loads(resolve(request, profile, draw_seed=lambda: 7, input_images=images).to_wire().to_json())


@given(
    profile=st.sampled_from(PROFILES),
    prompt=st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40).filter(str.strip),
    negative_prompt=st.none() | st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40),
    steps=st.none() | st.integers(1, 200),
    guidance_scale=st.none() | st.floats(0, 20),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    quality=st.none() | st.sampled_from(get_args(Quality)),
    data=st.data(),
)
def test_the_server_accepts_what_is_sent(
    *,
    profile: Profile,
    prompt: str,
    negative_prompt: str | None,
    steps: int | None,
    guidance_scale: float | None,
    seed: int | None,
    quality: Quality | None,
    data: st.DataObject,
) -> None:
    ratio = data.draw(st.none() | st.sampled_from(sorted(profile.supported_aspect_ratios)))
    request = ImageRequest(
        prompt=prompt,
        negative_prompt=negative_prompt,
        aspect_ratio=ratio,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        seed=seed,
        quality=quality,
    )
    jsonschema.validate(sent(request, profile), SCHEMA)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.model)
def test_every_setting_with_a_wrong_server_default_is_sent(profile: Profile) -> None:
    body = sent(ImageRequest(prompt="a fox"), profile)
    fields = set(body) | {f"extra_params.{name}" for name in body.get("extra_params", {})}
    assert {
        "prompt",
        "size",
        "num_inference_steps",
        "seed",
        "output_format",
        profile.guidance_field,
    } <= fields


@pytest.mark.parametrize(
    "wrong", [{"steps": 4}, {"num_inference_steps": 201}, {"seed": "7"}, {"guidance_scale": 21}, {"n": 0}]
)
def test_the_schema_detects_what_the_server_would_refuse(wrong: dict[str, Any]) -> None:
    body = {**sent(ImageRequest(prompt="a fox"), REGISTRY.profiles[0]), **wrong}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, SCHEMA)
