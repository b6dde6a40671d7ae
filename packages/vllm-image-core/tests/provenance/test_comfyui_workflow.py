"""ComfyUI's graphs as they were drawn: values by the order of the widgets, and links by number."""

import json

import pytest
from vllm_image_core.provenance.comfyui_workflow import facts_of_workflow
from vllm_image_core.provenance.facts import Facts


def drawn_node(number: int, kind: str, widgets: list[object], **links: int | None) -> dict[str, object]:
    inputs = [{"name": name, "type": "X", "link": link} for name, link in links.items()]
    return {"id": number, "type": kind, "inputs": inputs, "widgets_values": widgets}


ODD: dict[str, object] = {"id": {}, "type": [], "inputs": {}, "widgets_values": {"seed": 1}}
WORKFLOW: dict[str, object] = {
    "last_node_id": 9,
    "nodes": [
        drawn_node(7, "CLIPTextEncode", ["text, watermark"], clip=5),
        drawn_node(6, "CLIPTextEncode", ["a red fox"], clip=3),
        drawn_node(5, "EmptyLatentImage", [512, 768, 1]),
        drawn_node(
            3,
            "KSampler",
            [156680208700286, "randomize", 20, 8, "euler", "normal", 1],
            model=1,
            positive=4,
            negative=6,
            latent_image=2,
        ),
        drawn_node(4, "CheckpointLoaderSimple", ["v1-5-pruned-emaonly-fp16.safetensors"]),
        drawn_node(9, "SaveImage", ["ComfyUI"], images=9),
    ],
    "links": [
        [1, 4, 0, 3, 0, "MODEL"],
        [2, 5, 0, 3, 3, "LATENT"],
        [3, 4, 1, 6, 0, "CLIP"],
        [4, 6, 0, 3, 1, "CONDITIONING"],
        [5, 4, 1, 7, 0, "CLIP"],
        [6, 7, 0, 3, 2, "CONDITIONING"],
        [9, 8, 0, 9, 0, "IMAGE"],
    ],
}


def test_the_default_workflow_of_comfyui_is_read() -> None:
    assert facts_of_workflow(WORKFLOW) == Facts(
        tool="comfyui",
        prompt="a red fox",
        negative_prompt="text, watermark",
        width=512,
        height=768,
        num_inference_steps=20,
        guidance_scale=8,
        seed=156680208700286,
        model="v1-5-pruned-emaonly-fp16.safetensors",
        settings={"sampler_name": "euler", "scheduler": "normal", "denoise": 1},
    )


def test_links_and_values_that_are_named_are_read_the_same() -> None:
    named = json.loads(json.dumps(WORKFLOW))
    parts = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    named["links"] = [dict(zip(parts, link, strict=True)) for link in named["links"]]
    for each in named["nodes"]:
        if each["type"] == "EmptyLatentImage":
            each["widgets_values"] = {"width": 512, "height": 768, "batch_size": 1}
    assert facts_of_workflow(named) == facts_of_workflow(WORKFLOW)


@pytest.mark.parametrize(
    "workflow",
    [
        {},
        {"nodes": 7, "links": 7},
        {
            "nodes": [None, 7, ODD],
            "links": [[1]],
        },
        {"nodes": [drawn_node(3, "KSampler", [])], "links": [[True, None, "x"], None, "abc"]},
    ],
)
def test_anything_but_a_workflow_says_nothing(workflow: dict[str, object]) -> None:
    assert not facts_of_workflow(workflow).has_settings


def test_the_values_of_newer_nodes_are_read_by_their_order() -> None:
    drawn = json.loads(json.dumps(WORKFLOW))
    drawn["nodes"][1] = drawn_node(6, "CLIPTextEncodeFlux", ["kw", "a pier", 3.5], clip=3)
    drawn["nodes"][0] = drawn_node(7, "TextEncodeQwenImageEditPlus", ["fog"], clip=5)
    facts = facts_of_workflow(drawn)
    assert (facts.prompt, facts.negative_prompt, facts.guidance_scale) == ("a pier", "fog", 3.5)


def test_reroutes_and_stored_values_are_followed() -> None:
    drawn = json.loads(json.dumps(WORKFLOW))
    drawn["nodes"] += [
        {"id": 20, "type": "Reroute", "inputs": [{"name": "", "link": 21}], "widgets_values": []},
        {"id": 22, "type": "GetNode", "inputs": [], "widgets_values": ["prompt"]},
        {
            "id": 23,
            "type": "SetNode",
            "inputs": [{"name": "CONDITIONING", "link": 24}],
            "widgets_values": ["prompt"],
        },
    ]
    drawn["links"][3] = [4, 20, 0, 3, 1, "CONDITIONING"]
    drawn["links"] += [[21, 22, 0, 20, 0, "*"], [24, 6, 0, 23, 0, "*"]]
    assert facts_of_workflow(drawn).prompt == "a red fox"


@pytest.mark.parametrize("mode", [2, 4])
def test_a_sampler_that_did_not_run_says_nothing(mode: int) -> None:
    drawn = json.loads(json.dumps(WORKFLOW))
    drawn["nodes"][3]["mode"] = mode
    assert not facts_of_workflow(drawn).has_settings
