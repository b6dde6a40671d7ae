"""Settings as JSON: Fooocus, Civitai and NovelAI."""

import json

import pytest
from vllm_image_core.provenance.facts import request_of
from vllm_image_core.provenance.json_parameters import facts_of_comment, facts_of_json

FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "juggernautXL_v8Rundiffusion",
    "full_prompt": ["a fox, cinematic still"],
    "guidance_scale": 4,
    "metadata_scheme": "fooocus",
    "negative_prompt": "blurry",
    "performance": "Speed",
    "prompt": "a fox",
    "resolution": "(1152, 896)",
    "sampler": "dpmpp_2m_sde_gpu",
    "seed": "8124",
    "steps": 30,
    "version": "Fooocus v2.5.5",
}
CIVITAI = {
    "resource-stack": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "urn:air:sdxl:1"}},
    "6": {"class_type": "smZ CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["resource-stack", 1]}},
    "7": {"class_type": "smZ CLIPTextEncode", "inputs": {"text": "bad", "clip": ["resource-stack", 1]}},
    "20": {"class_type": "EmptyLatentImage", "inputs": {"width": 832, "height": 1216}},
    "11": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 1442,
            "steps": 30,
            "cfg": 3.5,
            "model": ["resource-stack", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["20", 0],
        },
    },
    "extraMetadata": json.dumps({"prompt": "a fox!", "negativePrompt": "bad", "steps": 31, "cfgScale": 3}),
}
NOVELAI = {
    "prompt": "1girl, fox ears",
    "steps": 28,
    "height": 1216,
    "width": 832,
    "scale": 5.0,
    "seed": 1830494,
    "sampler": "k_euler_ancestral",
    "uc": "lowres",
}


def test_fooocus_tells_its_settings_as_json() -> None:
    facts = facts_of_json(FOOOCUS)
    request, notes = request_of(facts)
    assert (facts.tool, facts.model, notes) == ("fooocus", "juggernautXL_v8Rundiffusion", ())
    assert (request.prompt, request.negative_prompt, request.seed) == ("a fox", "blurry", 8124)
    assert (request.width, request.height) == (1152, 896)
    assert (request.num_inference_steps, request.guidance_scale) == (30, 4)


def test_civitai_s_summary_counts_and_its_graph_fills_it_in() -> None:
    facts = facts_of_json(CIVITAI)
    request, notes = request_of(facts)
    assert (facts.tool, facts.model, notes) == ("civitai", "urn:air:sdxl:1", ())
    assert (request.prompt, request.num_inference_steps, request.guidance_scale) == ("a fox!", 31, 3)
    assert (request.seed, request.width, request.height) == (1442, 832, 1216)


def test_novelai_tells_its_settings_under_comment() -> None:
    facts = facts_of_comment(NOVELAI)
    request, notes = request_of(facts)
    assert (facts.tool, notes) == ("novelai", ())
    assert (request.prompt, request.negative_prompt, request.seed) == ("1girl, fox ears", "lowres", 1830494)
    assert (request.width, request.height, request.num_inference_steps) == (832, 1216, 28)


def test_the_captions_of_novelai_s_newer_models_are_one_prompt() -> None:
    caption = {"base_caption": "a park", "char_captions": [{"char_caption": "girl"}, {"char_caption": "boy"}]}
    newer = {**NOVELAI, "v4_prompt": {"caption": caption}}
    del newer["prompt"]
    assert facts_of_comment(newer).prompt == "a park | girl | boy"


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"prompt": "only a comment"},
        {"uc": 1, "scale": [], "sampler": {}, "v4_prompt": 7},
        {"uc": None, "scale": None, "sampler": None, "v4_prompt": {"caption": {"char_captions": [1, None]}}},
    ],
)
def test_a_comment_of_another_kind_tells_nothing(found: dict[str, object]) -> None:
    assert not facts_of_comment(found).some


@pytest.mark.parametrize(
    "found",
    [
        {"extraMetadata": "[" * 100_000},
        {"extraMetadata": 7},
        {"extraMetadata": json.dumps({"prompt": ["x"], "steps": {}})},
        {"resolution": "(" + "9" * 100_000 + ", 1)", "version": {"a": 1}},
    ],
)
def test_hostile_json_stays_data(found: dict[str, object]) -> None:
    request, _ = request_of(facts_of_json(found))
    assert (request.prompt, request.width, request.num_inference_steps) == ("", None, None)


def test_json_of_a_program_that_is_not_known_is_not_called_fooocus() -> None:
    assert facts_of_json({"prompt": "a fox", "steps": 3}).tool == "automatic1111"
