"""ComfyUI's graphs: settings found through the links."""

import json

import pytest
from vllm_image_core.provenance.comfyui import facts_of_prompt
from vllm_image_core.provenance.facts import Facts

BASIC: dict[str, object] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286,
            "steps": 20,
            "cfg": 8.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "v1-5-pruned-emaonly-fp16.safetensors"},
    },
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text, watermark", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
}


def node(kind: str, **inputs: object) -> dict[str, object]:
    return {"class_type": kind, "inputs": inputs}


def test_the_default_graph_of_comfyui_is_read() -> None:
    assert facts_of_prompt(BASIC) == Facts(
        tool="comfyui",
        prompt="a red fox",
        negative_prompt="text, watermark",
        width=512,
        height=768,
        num_inference_steps=20,
        guidance_scale=8.0,
        seed=156680208700286,
        model="v1-5-pruned-emaonly-fp16.safetensors",
        settings={"sampler_name": "euler", "scheduler": "normal", "denoise": 1.0},
    )


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_samplers_the_one_that_started_the_image_counts(turned: bool) -> None:  # noqa: FBT001 - a case
    graph = json.loads(json.dumps(BASIC))
    larger = graph["3"]["inputs"] | {"seed": 5, "steps": 14, "denoise": 0.5, "latent_image": ["10", 0]}
    graph["10"] = {
        "class_type": "LatentUpscale",
        "inputs": {"samples": ["3", 0], "width": 1024, "height": 1536},
    }
    graph["11"] = {"class_type": "KSampler", "inputs": larger}
    facts = facts_of_prompt(dict(reversed(graph.items())) if turned else graph)
    assert (facts.seed, facts.num_inference_steps, facts.width) == (156680208700286, 20, 512)


def test_values_are_found_through_links() -> None:
    linked = json.loads(json.dumps(BASIC))
    linked["3"]["inputs"] |= {"seed": ["20", 0], "steps": ["21", 0], "cfg": ["22", 0], "model": ["25", 0]}
    linked["5"]["inputs"] |= {"width": ["21", 0], "height": ["24", 0]}
    linked["6"]["inputs"]["text"] = ["23", 0]
    linked |= {
        "20": {"class_type": "Seed (rgthree)", "inputs": {"seed": 77}},
        "21": {"class_type": "PrimitiveInt", "inputs": {"value": 30}},
        "22": {"class_type": "Reroute", "inputs": {"value": ["26", 0]}},
        "23": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a linked fox"}},
        "24": {"class_type": "INTConstant", "inputs": {"value": 640}},
        "25": {"class_type": "LoraLoader", "inputs": {"lora_name": "x", "model": ["4", 0]}},
        "26": {"class_type": "PrimitiveFloat", "inputs": {"value": 4.5}},
    }
    facts = facts_of_prompt(linked)
    assert (facts.seed, facts.num_inference_steps, facts.guidance_scale) == (77, 30, 4.5)
    assert (facts.width, facts.height, facts.prompt) == (30, 640, "a linked fox")
    assert facts.model == "v1-5-pruned-emaonly-fp16.safetensors"


def test_a_flux_graph_with_its_custom_sampler_is_read() -> None:
    graph: dict[str, object] = {
        "13": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["25", 0],
                "guider": ["22", 0],
                "sampler": ["16", 0],
                "sigmas": ["17", 0],
                "latent_image": ["27", 0],
            },
        },
        "25": {"class_type": "RandomNoise", "inputs": {"noise_seed": 42}},
        "22": {"class_type": "BasicGuider", "inputs": {"model": ["30", 0], "conditioning": ["26", 0]}},
        "26": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["6", 0]}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["11", 0]}},
        "17": {
            "class_type": "BasicScheduler",
            "inputs": {"scheduler": "simple", "steps": 4, "model": ["30", 0]},
        },
        "27": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024}},
        "30": {"class_type": "ModelSamplingFlux", "inputs": {"width": 1, "height": 1, "model": ["12", 0]}},
        "12": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
    }
    assert facts_of_prompt(graph) == Facts(
        tool="comfyui",
        prompt="a fox",
        width=1024,
        height=1024,
        num_inference_steps=4,
        guidance_scale=3.5,
        seed=42,
        model="flux1-dev.safetensors",
    )


def test_a_node_that_passes_both_conditionings_passes_the_right_one() -> None:
    graph = json.loads(json.dumps(BASIC))
    graph["3"]["inputs"] |= {"positive": ["40", 0], "negative": ["40", 1]}
    graph["40"] = {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["6", 0], "negative": ["7", 0], "strength": 1.0},
    }
    facts = facts_of_prompt(graph)
    assert (facts.prompt, facts.negative_prompt) == ("a red fox", "text, watermark")


def test_an_empty_conditioning_is_not_a_negative_prompt() -> None:
    graph = json.loads(json.dumps(BASIC))
    graph["3"]["inputs"]["negative"] = ["41", 0]
    graph["41"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}
    assert facts_of_prompt(graph).negative_prompt is None


def test_of_two_samplers_the_one_with_the_most_settings_is_read() -> None:
    graph = json.loads(json.dumps(BASIC))
    second = json.loads(json.dumps(graph["3"]))
    second["inputs"] |= {"latent_image": ["3", 0], "seed": 1, "denoise": 0.5}
    facts = facts_of_prompt({"2": second, **graph})
    assert (facts.seed, facts.width) == (156680208700286, 512)


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"3": None},
        {"3": {"class_type": 7, "inputs": []}},
        {"3": {"class_type": "KSampler"}},
        {"1": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}}},
    ],
)
def test_anything_but_a_graph_says_nothing(graph: dict[str, object]) -> None:
    assert facts_of_prompt(graph) == Facts(tool="comfyui")


def test_a_circular_graph_ends() -> None:
    inputs = {
        "seed": ["3", 0],
        "positive": ["3", 0],
        "latent_image": ["3", 0],
        "model": ["3", 0],
        "text": ["3", 0],
    }
    facts = facts_of_prompt({"3": {"class_type": "KSampler", "inputs": inputs}})
    assert (facts.prompt, facts.seed, facts.width) == (None, None, None)


@pytest.mark.timeout(60)
def test_a_graph_of_a_hundred_thousand_nodes_is_read_quickly() -> None:
    chain: dict[str, object] = {
        f"{n}": {
            "class_type": "KSampler",
            "inputs": {"seed": [f"{n + 1}", 0], "positive": [f"{n + 1}", 0], "model": [f"{n + 1}", 0]},
        }
        for n in range(100_000)
    }
    assert facts_of_prompt(chain).prompt is None


def test_texts_that_are_joined_before_the_sampler_are_one_prompt() -> None:
    facts = facts_of_prompt(
        {
            "1": node("KSampler", positive=["2", 0], negative=["7", 0], seed=3, steps=20),
            "2": node("CLIPTextEncode", text=["3", 0]),
            "3": node("Text Concatenate", delimiter=" + ", text_a=["4", 0], text_b=["5", 0], text_c=""),
            "4": node("Text Multiline", text="red fox"),
            "5": node("StringConcatenate", string_a="deep snow", string_b=["6", 0], delimiter=", "),
            "6": node("PrimitiveString", value="dawn"),
            "7": node("CLIPTextEncode", text="blurry"),
        }
    )
    assert (facts.prompt, facts.negative_prompt) == ("red fox + deep snow, dawn", "blurry")


def test_a_loader_that_holds_both_prompts_and_the_size_is_read() -> None:
    facts = facts_of_prompt(
        {
            "1": node(
                "Efficient Loader",
                ckpt_name="dream.safetensors",
                positive="a fox",
                negative="bad",
                empty_latent_width=512,
                empty_latent_height=640,
            ),
            "2": node(
                "KSampler (Efficient)",
                seed=42,
                steps=22,
                cfg=6.5,
                model=["1", 0],
                positive=["1", 1],
                negative=["1", 2],
                latent_image=["1", 3],
            ),
        }
    )
    assert (facts.prompt, facts.negative_prompt, facts.model) == ("a fox", "bad", "dream.safetensors")
    assert (facts.width, facts.height, facts.seed) == (512, 640, 42)


def test_texts_that_are_joined_in_circles_end() -> None:
    graph = {
        str(place): node("Concat", text_a=[str(place + 1), 0], text_b=[str((place + 2) % 900), 0])
        for place in range(900)
    }
    graph |= {
        "900": node("Text", text="x" * 60_000),
        "901": node("KSampler", positive=["0", 0], seed=1, steps=2),
    }
    prompt = facts_of_prompt(graph).prompt
    assert prompt is None or len(str(prompt)) <= 65_536


ENCODE = "CLIPTextEncode"


def of_positive(**nodes: dict[str, object]) -> Facts:
    """The facts of a graph whose sampler takes its prompt from the node `p`."""
    sampler = node("KSampler", seed=1, steps=9, cfg=2.5, positive=["p", 0], negative=["n", 0])
    return facts_of_prompt({"0": sampler, "n": node(ENCODE, text="fog"), **nodes})


@pytest.mark.parametrize(
    "nodes",
    [
        {"p": node("CLIPTextEncodeFlux", clip_l="a pier", t5xxl="a pier", guidance=2.5)},
        {
            "p": node("CLIPTextEncodeFlux", clip_l="", t5xxl=["s", 0]),
            "s": node("PrimitiveString", value="a pier"),
        },
        {"p": node("CLIPTextEncodeSDXL", text_g="a pier", text_l="a pier", width=8, height=8)},
        {"p": node("CLIPTextEncodeHiDream", clip_l="", clip_g="", t5xxl="", llama="a pier")},
        {"p": node("CLIPTextEncodeLumina2", system_prompt="superior", user_prompt="a pier")},
        {"p": node("TextEncodeQwenImageEdit", prompt="a pier", image=["9", 0])},
        {
            "p": node("TextEncodeQwenImageEditPlus", prompt=["s", 0]),
            "s": node("PrimitiveStringMultiline", value="a pier"),
        },
        {"p": node("Power Prompt (rgthree)", prompt="a pier", insert_lora="CHOOSE")},
        {"p": node(ENCODE, text=["s", 3]), "s": node("Power Prompt - Simple (rgthree)", prompt="a pier")},
        {"p": node("FluxGuidance", guidance=2.5, conditioning=["c", 0]), "c": node(ENCODE, text="a pier")},
        {
            "p": node("ReferenceLatent", conditioning=["c", 0], latent=["l", 0]),
            "c": node(ENCODE, text="a pier"),
        },
        {
            "p": node(ENCODE, text=["s", 0]),
            "s": node("StringConcatenate", string_a="a ", string_b="pier", delimiter=""),
        },
        {
            "p": node(ENCODE, text=["s", 0]),
            "s": node("StringReplace", string="a quay", find="quay", replace="pier"),
        },
        {"p": node(ENCODE, text=["s", 0]), "s": node("StringTrim", string="  a pier ", mode="Both")},
        {"p": node(ENCODE, text=["s", 0]), "s": node("CaseConverter", string="A PIER", mode="lowercase")},
        {
            "p": node(ENCODE, text=["s", 0]),
            "s": node("StringSubstring", string="a pier in fog", start=0, end=6),
        },
        {
            "p": node(ENCODE, text=["s", 0]),
            "s": node("ComfySwitchNode", switch=False, on_true="a quay", on_false=["t", 0]),
            "t": node("PrimitiveString", value="a pier"),
        },
        {
            "p": node(ENCODE, text=["s", 0]),
            "s": node("CR Text Input Switch", Input=2, text1="a quay", text2="a pier"),
        },
        {
            "p": node("Any Switch (rgthree)", any_02=["c", 0], any_03=["n", 0]),
            "c": node(ENCODE, text="a pier"),
        },
        {"p": node(ENCODE, text=["s", 0]), "s": node("ShowText|pysssss", text=["t", 0], text_0="a pier")},
    ],
)
def test_prompts_of_newer_nodes_are_followed(nodes: dict[str, dict[str, object]]) -> None:
    facts = of_positive(**nodes)
    assert (facts.prompt, facts.negative_prompt, facts.notes) == ("a pier", "fog", ())
    assert facts.guidance_scale == 2.5


@pytest.mark.parametrize(
    ("nodes", "note"),
    [
        (
            {
                "p": node(ENCODE, text=["s", 0]),
                "s": node("RegexReplace", string="a quay", regex_pattern="q", replace="p"),
            },
            "The graph's prompt comes from a node that cannot be read: 'RegexReplace'.",
        ),
        (
            {"p": node(ENCODE, text=["s", 0]), "s": node("Llm\x1b[2J", instruction="invent")},
            "The graph's prompt comes from a node that cannot be read: 'Llm\\x1b[2J'.",
        ),
    ],
)
def test_a_prompt_that_cannot_be_followed_is_reported(nodes: dict[str, dict[str, object]], note: str) -> None:
    facts = of_positive(**nodes)
    assert (facts.prompt, facts.notes) == (None, (note,))


@pytest.mark.parametrize(
    "nodes",
    [
        {
            "p": node("ConditioningCombine", conditioning_1=["a", 0], conditioning_2=["b", 0]),
            "a": node(ENCODE, text="a pier"),
            "b": node(ENCODE, text="two boats"),
        },
        {"p": node("CLIPTextEncodeFlux", clip_l="two boats", t5xxl="a pier")},
        {"p": node("CLIPTextEncodeSDXL", text_g="a pier", text_l="two boats")},
    ],
)
def test_a_second_prompt_is_reported(nodes: dict[str, dict[str, object]]) -> None:
    facts = of_positive(**nodes)
    assert facts.prompt == "a pier"
    assert len(facts.notes) == 1
    assert facts.notes[0].endswith(": 'two boats'.")


def test_an_unreadable_part_of_the_prompt_is_reported() -> None:
    joined = node("StringConcatenate", string_a=["x", 0], string_b="a pier", delimiter=", ")
    facts = of_positive(p=node(ENCODE, text=["s", 0]), s=joined, x=node("Llm", instruction="invent"))
    assert facts.prompt == "a pier"
    assert facts.notes[0].startswith("Part of the graph's prompt is missing")
    blank = of_positive(p=node(ENCODE, text=["s", 0]), s=joined, x=node("PrimitiveString", value=""))
    assert (blank.prompt, blank.notes) == ("a pier", ())


def test_strings_that_contain_themselves_end() -> None:
    for kind in ("StringReplace", "StringTrim", "StringConcatenate", "ComfySwitchNode"):
        inputs = {"string": ["p", 0], "find": "a", "replace": "b", "string_a": ["p", 0], "on_true": ["p", 0]}
        assert of_positive(p=node(kind, **inputs, switch=True)).prompt is None
