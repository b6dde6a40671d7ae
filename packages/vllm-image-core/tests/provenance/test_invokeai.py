"""InvokeAI's three forms."""

import pytest
from vllm_image_core.provenance.facts import Facts
from vllm_image_core.provenance.invokeai import (
    facts_of_dream,
    facts_of_metadata,
    facts_of_node,
    facts_of_sd_metadata,
)

METADATA: dict[str, object] = {
    "app_version": "3.3.0post3",
    "generation_mode": "txt2img",
    "positive_prompt": "landscape",
    "negative_prompt": "low quality",
    "width": 768,
    "height": 432,
    "seed": 356120443,
    "rand_device": "cpu",
    "cfg_scale": 7.5,
    "steps": 50,
    "scheduler": "dpmpp_2m_sde_k",
    "model": {"model_name": "amixx_3Prunedfp16", "base_model": "sd-1", "model_type": "main"},
    "loras": [],
}


def test_the_metadata_of_version_three_is_read() -> None:
    assert facts_of_metadata(METADATA) == Facts(
        tool="invokeai",
        prompt="landscape",
        negative_prompt="low quality",
        width=768,
        height=432,
        num_inference_steps=50,
        guidance_scale=7.5,
        seed=356120443,
        model="amixx_3Prunedfp16",
        settings={
            "scheduler": "dpmpp_2m_sde_k",
            "generation_mode": "txt2img",
            "app_version": "3.3.0post3",
        },
    )


def test_the_metadata_of_a_flux_model_has_its_guidance_and_its_name() -> None:
    model = {"key": "b1c8", "hash": "blake3:00", "name": "FLUX Dev", "base": "flux", "type": "main"}
    facts = facts_of_metadata(METADATA | {"guidance": 4, "cfg_scale": 1, "model": model})
    assert (facts.guidance_scale, facts.model) == (4, "FLUX Dev")


def test_the_metadata_of_version_two_is_read() -> None:
    metadata: dict[str, object] = {
        "model": "stable diffusion",
        "model_weights": "stable-diffusion-1.5",
        "app_id": "invoke-ai/InvokeAI",
        "app_version": "2.3.5",
        "image": {
            "prompt": [{"prompt": "a fox in the snow [blurry, dark]", "weight": 1.0}],
            "steps": 50,
            "cfg_scale": 7.5,
            "seed": 3338310440,
            "width": 512,
            "height": 640,
            "sampler": "k_lms",
        },
    }
    assert facts_of_sd_metadata(metadata) == Facts(
        tool="invokeai",
        prompt="a fox in the snow",
        negative_prompt="blurry, dark",
        width=512,
        height=640,
        num_inference_steps=50,
        guidance_scale=7.5,
        seed=3338310440,
        model="stable-diffusion-1.5",
        settings={"sampler": "k_lms", "app_version": "2.3.5"},
    )


@pytest.mark.parametrize(
    "options", ["-s 50 -S 42 -W 512 -H 640 -C 7.5 -A k_lms", "-s50 -S42 -W512 -H640 -C7.5 -Ak_lms"]
)
def test_the_command_line_of_dream_is_read(options: str) -> None:
    assert facts_of_dream(f'"a "red" fox [blurry]" {options}') == Facts(
        tool="invokeai",
        prompt='a "red" fox',
        negative_prompt="blurry",
        width="512",
        height="640",
        num_inference_steps="50",
        guidance_scale="7.5",
        seed="42",
        settings={"sampler": "k_lms"},
    )


@pytest.mark.parametrize("text", ["", '"', "no dream", "-s 50"])
def test_anything_but_dream_gives_no_prompt(text: str) -> None:
    assert facts_of_dream(text).prompt is None


@pytest.mark.parametrize(
    "text", ["[" * 1_000_000, '"' * 1_000_000, '"' + " -s" * 300_000, '"a" ' + "-s " * 300_000]
)
@pytest.mark.timeout(60)
def test_a_hostile_dream_is_read_quickly(text: str) -> None:
    assert isinstance(facts_of_dream(text), Facts)


@pytest.mark.parametrize("metadata", [{}, {"model": 7}, {"image": []}, {"image": {"prompt": [7]}}])
def test_metadata_of_other_types_says_nothing(metadata: dict[str, object]) -> None:
    assert not facts_of_metadata(metadata).has_settings
    assert not facts_of_sd_metadata(metadata).has_settings


def test_the_node_in_the_first_files_of_version_three_is_read() -> None:
    node = {
        "type": "txt2img",
        "prompt": "a pier [fog]",
        "seed": 77,
        "steps": 12,
        "cfg_scale": 6,
        "model": "sd-1.5",
    }
    facts = facts_of_node({"session_id": "x", "node": node})
    assert (facts.prompt, facts.negative_prompt, facts.seed) == ("a pier", "fog", 77)
    assert (facts.num_inference_steps, facts.model) == (12, "sd-1.5")
    assert not facts_of_node({"node": []}).has_settings
