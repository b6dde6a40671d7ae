"""Which argument names are misspelt, and which are fields that a host added by itself."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.tools.argument_names import Schema, note_on_ignored, sort_names
from vllm_image_mcp.tools.schemas import short_input

GENERATE: dict[str, object] = {"prompt": "an owl"}


@pytest.fixture(scope="module")
def tools() -> Mapping[str, Schema]:
    """The parameters of every tool, as hosts see them."""
    listed = asyncio.run(build_server(Settings.from_arguments(demo=True)).list_tools())
    return {tool.name: short_input(tool.input_schema)["properties"] for tool in listed}


@pytest.mark.parametrize(
    ("tool", "name", "hint"),
    [
        ("generate_image", "numInferenceSteps", "Use num_inference_steps"),
        ("generate_image", "inference-steps", "Use num_inference_steps"),
        ("generate_image", "STEPS", "Use num_inference_steps"),
        ("generate_image", "cfgScale", "Use guidance_scale"),
        ("generate_image", "gidance_scale", "Use guidance_scale"),
        ("generate_image", "hieght", "Use height"),
        ("generate_image", "wdith", "Use width"),
        ("generate_image", "negativ_prompt", "Use negative_prompt"),
        ("generate_image", "imageSize", "Use width and height, or aspect_ratio"),
        ("generate_image", "num_images", "It generates one image; use batch_generate for several"),
        ("generate_image", "init_image", "Only edit_image, rate_images take images"),
        ("generate_image", "mask", "Only edit_image takes mask"),
        ("edit_image", "input_image", "Use images"),
        ("edit_image", "size", "Use width and height, or aspect_ratio; by default, that of the first image"),
        ("batch_generate", "prompt", "Use prompts"),
        ("batch_generate", "n", "Use count"),
        ("estimate_generation", "n", "Use num_images"),
        (
            "estimate_generation",
            "aspect_ratio",
            "Only generate_image, batch_generate, edit_image take aspect_ratio",
        ),
        ("get_batch", "batch_Id", "Use batch_id"),
        ("get_batch", "maxwait", "Use max_wait"),
        ("find_images", "before", "Use until"),
        ("find_images", "prompt", "Use text"),
        ("rate_images", "numbers", "Use indexes"),
        ("rate_images", "reject", 'Use verdict="keep", "reject" or "clear"'),
        ("find_images", "kept", 'Use verdict="keep" or verdict="reject"'),
        ("rate_images", "destination", "Use export_to"),
    ],
)
def test_a_misspelt_name_is_distinguished_from_a_field_of_the_host(
    tools: Mapping[str, Schema], tool: str, name: str, hint: str
) -> None:
    assert sort_names(tool, {name: 4}, tools).slips == {name: hint}


@pytest.mark.parametrize(
    "name",
    [
        *("tool_call_id", "_sessionID", "__arg1", "$schema", "random_string", "conversationId", "chatInput"),
        *("explanation", "task_progress", "wait_for_previous", "waitForPreviousTools", "_prompt", "", "..."),
        *("sampler", "model", "text", "query", "input", "id", "signal", "progressToken"),
    ],
)
@pytest.mark.parametrize("tool", ["generate_image", "estimate_generation", "gpu_status"])
def test_a_field_of_the_host_is_ignored(tools: Mapping[str, Schema], tool: str, name: str) -> None:
    given = GENERATE if tool == "generate_image" else {}
    names = sort_names(tool, {**given, name: "x"}, tools)
    assert (names.own, names.slips, names.ignored) == (given, {}, (name,))


@pytest.mark.parametrize("name", ["text", "input", "description"])
def test_a_loose_word_counts_as_misspelt_only_while_the_parameter_is_missing(
    tools: Mapping[str, Schema], name: str
) -> None:
    assert sort_names("generate_image", {name: "an owl"}, tools).slips == {name: "Use prompt"}
    assert sort_names("generate_image", {name: "x", "prompt": ""}, tools).slips == {name: "Use prompt"}
    assert not sort_names("generate_image", {name: "an owl", **GENERATE}, tools).slips


@pytest.mark.parametrize("name", ["path", "save_to", "saveTo", "destination"])
def test_a_name_for_where_to_save_counts_as_misspelt_unless_the_filename_is_given(
    tools: Mapping[str, Schema], name: str
) -> None:
    assert sort_names("generate_image", {**GENERATE, name: "a.png"}, tools).slips == {name: "Use filename"}
    named = {**GENERATE, "filename": "a.png", name: "/home/ana/project"}
    assert sort_names("generate_image", named, tools).ignored == (name,)
    assert sort_names("batch_generate", {"prompts": ["a"], name: "x"}, tools).slips == {name: "Use filename"}


@pytest.mark.parametrize("inside", [{"seed": 3}, '{"seed": 3}', '{"seed": 3, "other": 1}'])
@pytest.mark.parametrize("wrapper", ["kwargs", "requestBody", "extra_body"])
def test_a_parameter_nested_in_another_field_is_not_lost(
    tools: Mapping[str, Schema], wrapper: str, inside: object
) -> None:
    names = sort_names("generate_image", {**GENERATE, wrapper: inside}, tools)
    assert names.slips == {wrapper: "Pass seed at the top level, not inside it"}
    repeated = sort_names("generate_image", {**GENERATE, "seed": 3, wrapper: inside}, tools)
    assert repeated.ignored == (wrapper,)


@pytest.mark.parametrize("given", [{"flow_shift": 3.0}, {"extra_params": '{"flow_shift": 3.0}'}])
def test_a_rare_parameter_goes_into_extra_params(tools: Mapping[str, Schema], given: dict[str, Any]) -> None:
    names = sort_names("generate_image", {**GENERATE, "output_compression": 80, **given}, tools)
    assert names.own["extra_params"] == {"flow_shift": 3.0, "output_compression": 80}
    assert (names.slips, names.ignored) == ({}, ())
    assert sort_names("find_images", given, tools).slips == {}


@pytest.mark.parametrize("inside", [{}, "{}", "x", None, 7, ["seed"], {"cookies": 1}, "[" * 9_999])
def test_a_wrapper_without_any_parameter_of_the_tool_is_ignored(
    tools: Mapping[str, Schema], inside: object
) -> None:
    assert sort_names("generate_image", {**GENERATE, "kwargs": inside}, tools).ignored == ("kwargs",)


def test_a_tool_without_parameters_ignores_every_name(tools: Mapping[str, Schema]) -> None:
    names = sort_names("list_presets", {"width": 64, "steps": 4}, tools)
    assert (names.slips, names.ignored) == ({}, ("width", "steps"))


def test_no_parameter_of_a_tool_is_taken_for_another(tools: Mapping[str, Schema]) -> None:
    for tool, parameters in tools.items():
        names = sort_names(tool, dict.fromkeys(parameters, 1), tools)
        assert (set(names.own), names.slips, names.ignored) == (set(parameters), {}, ())


def test_a_note_about_ignored_fields_is_short_however_many_there_were() -> None:
    note = note_on_ignored("server_health", [f"{place}\n" + "x" * 500 for place in range(500)])
    assert note.startswith("Ignored, because server_health has no such parameter: '0\\nxxx")
    assert note.endswith(" and 492 more.")
    assert len(note) < 1_200
