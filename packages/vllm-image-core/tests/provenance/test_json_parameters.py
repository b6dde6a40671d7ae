"""Settings as JSON: SwarmUI, Fooocus, Civitai, NovelAI and others."""

import json

import pytest
from vllm_image_core.provenance.facts import build_request
from vllm_image_core.provenance.json_parameters import facts_of_comment, facts_of_json, facts_of_texts

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


def test_fooocus_writes_its_settings_as_json() -> None:
    facts = facts_of_json(FOOOCUS)
    request, notes = build_request(facts)
    assert (facts.tool, facts.model, notes) == ("fooocus", "juggernautXL_v8Rundiffusion", ())
    assert (request.prompt, request.negative_prompt, request.seed) == ("a fox", "blurry", 8124)
    assert (request.width, request.height) == (1152, 896)
    assert (request.num_inference_steps, request.guidance_scale) == (30, 4)


def test_the_summary_of_civitai_counts_and_its_graph_fills_it_in() -> None:
    facts = facts_of_json(CIVITAI)
    request, notes = build_request(facts)
    assert (facts.tool, facts.model, notes) == ("civitai", "urn:air:sdxl:1", ())
    assert (request.prompt, request.num_inference_steps, request.guidance_scale) == ("a fox!", 31, 3)
    assert (request.seed, request.width, request.height) == (1442, 832, 1216)


def test_novelai_writes_its_settings_under_comment() -> None:
    facts = facts_of_comment(NOVELAI)
    request, notes = build_request(facts)
    assert (facts.tool, notes) == ("novelai", ())
    assert (request.prompt, request.negative_prompt, request.seed) == ("1girl, fox ears", "lowres", 1830494)
    assert (request.width, request.height, request.num_inference_steps) == (832, 1216, 28)


def test_the_captions_of_newer_novelai_models_are_one_prompt() -> None:
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
def test_a_comment_of_another_kind_says_nothing(found: dict[str, object]) -> None:
    assert not facts_of_comment(found).has_settings


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
    request, _ = build_request(facts_of_json(found))
    assert (request.prompt, request.width, request.num_inference_steps) == ("", None, None)


def test_json_of_an_unknown_program_is_not_attributed_to_fooocus() -> None:
    assert facts_of_json({"prompt": "a fox", "steps": 3}).tool == "automatic1111"


SWARMUI = {
    "sui_image_params": {
        "prompt": "a pier",
        "negativeprompt": "fog",
        "model": "flux1-dev",
        "seed": 77,
        "steps": 12,
        "cfgscale": 1.0,
        "fluxguidancescale": 3.5,
        "width": 640,
        "height": 448,
        "sampler": "euler",
        "swarm_version": "0.9.6",
    },
    "sui_extra_data": {"date": "2026-03-01", "original_prompt": "a <random:pier>"},
}
RUINED = {
    "Prompt": "a pier",
    "Negative": "fog",
    "steps": 12,
    "cfg": 3.5,
    "width": 640,
    "height": 448,
    "seed": 77,
    "sampler_name": "dpmpp_2m",
    "base_model_name": "flux1-dev",
    "software": "RuinedFooocus",
}
FOOOCUS_LOG = {
    "Prompt": "a pier",
    "Negative Prompt": "fog",
    "Fooocus V2 Expansion": "a pier, sharp",
    "Steps": 12,
    "Guidance Scale": 3.5,
    "Resolution": "(640, 448)",
    "Seed": "77",
    "Base Model": "flux1-dev",
    "Version": "Fooocus v2.1.8",
}
DRAW_THINGS = {
    "c": "a pier",
    "uc": "fog",
    "seed": 77,
    "steps": 12,
    "scale": 3.5,
    "size": "640x448",
    "sampler": "DPM++ 2M Karras",
    "model": "flux1-dev",
}
EASY_DIFFUSION = {
    "prompt": "a pier",
    "negative_prompt": "fog",
    "seed": "77",
    "num_inference_steps": "12",
    "guidance_scale": "3.5",
    "width": "640",
    "height": "448",
    "sampler_name": "euler_a",
    "use_stable_diffusion_model": "flux1-dev",
}
EASY_DIFFUSION_TITLES = {
    "Prompt": "a pier",
    "Negative Prompt": "fog",
    "Seed": "77",
    "Steps": "12",
    "Guidance Scale": "3.5",
    "Width": "640",
    "Height": "448",
    "Stable Diffusion model": "flux1-dev",
}


@pytest.mark.parametrize(
    ("found", "tool"),
    [
        (SWARMUI, "swarmui"),
        (RUINED, "ruinedfooocus"),
        (FOOOCUS_LOG, "fooocus"),
        (DRAW_THINGS, "draw-things"),
        (EASY_DIFFUSION, "easy-diffusion"),
        (EASY_DIFFUSION_TITLES, "easy-diffusion"),
    ],
)
def test_each_program_is_recognised_by_its_names(found: dict[str, object], tool: str) -> None:
    facts = facts_of_json(found)
    request, notes = build_request(facts)
    assert (facts.tool, facts.model, notes) == (tool, "flux1-dev", ())
    assert (request.prompt, request.negative_prompt, request.seed) == ("a pier", "fog", 77)
    assert (request.width, request.height) == (640, 448)
    assert (request.num_inference_steps, request.guidance_scale) == (12, 3.5)


def test_easy_diffusion_has_a_text_for_each_setting() -> None:
    assert facts_of_texts(EASY_DIFFUSION) == facts_of_json(EASY_DIFFUSION)
    assert not facts_of_texts({"prompt": "a pier", "Software": "gimp"}).has_settings


def test_the_first_files_of_novelai_have_their_prompt_in_the_description() -> None:
    first = {
        "steps": 28,
        "sampler": "plms",
        "seed": 77,
        "strength": 0.7,
        "noise": 0.2,
        "scale": 11.0,
        "uc": "fog",
    }
    facts = facts_of_comment(first, description="{a pier}")
    assert (facts.prompt, facts.negative_prompt, facts.seed) == ("{a pier}", "fog", 77)
    assert facts_of_comment({**first, "prompt": "own"}, description="{a pier}").prompt == "own"
    wrapped = {"Comment": json.dumps(first), "Description": "{a pier}", "Software": "NovelAI"}
    assert facts_of_json(wrapped).prompt == "{a pier}"


def test_a_comfyui_graph_inside_an_object_is_read() -> None:
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 9, "positive": ["2", 0]}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a pier"}},
    }
    for found in (graph, {"prompt": graph}, {"prompt": json.dumps(graph), "workflow": "{}"}):
        facts = facts_of_json(found)
        assert (facts.tool, facts.prompt, facts.seed) == ("comfyui", "a pier", 7)


@pytest.mark.parametrize(
    "found",
    [
        {"sui_image_params": []},
        {"sui_image_params": {"prompt": 7}},
        {"Comment": "[" * 100_000},
        {"c": None, "uc": []},
        {"prompt": {"1": 2}, "workflow": 7},
        {f"{number}" * 50: number for number in range(5000)},
    ],
)
def test_odd_json_raises_nothing(found: dict[str, object]) -> None:
    request, _ = build_request(facts_of_json(found))
    assert request.prompt == ""
