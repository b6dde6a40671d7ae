"""Wire types: exactly the requested fields are sent, and replies are validated."""

import base64
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from vllm_omni_client.errors import InvalidParameter
from vllm_omni_client.models import (
    GenerationMetrics,
    ImageGenerationReply,
    ImageGenerationRequest,
    Lora,
    ModelCard,
    ModelList,
    ReplyImage,
)


def request_of(**fields: object) -> ImageGenerationRequest:
    return ImageGenerationRequest.model_validate({"prompt": "a red fox", **fields})


def reply_of(**fields: object) -> ImageGenerationReply:
    return ImageGenerationReply.model_validate_json(json.dumps(fields))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_fields_that_are_none_are_not_sent() -> None:
    assert json.loads(ImageGenerationRequest(prompt="a red fox").to_json()) == {"prompt": "a red fox", "n": 1}


def test_every_field_is_sent_flat_under_its_own_name() -> None:
    fields = {
        "prompt": "a red fox",
        "model": "klein",
        "n": 2,
        "size": "64x128",
        "response_format": "b64_json",
        "user": "me",
        "negative_prompt": "",
        "num_inference_steps": 4,
        "guidance_scale": 0.0,
        "true_cfg_scale": 4.0,
        "flow_shift": 1.5,
        "extra_params": {"cfg_truncation": 0.5, "deep": {"kept": None}},
        "seed": 0,
        "generator_device": "cpu",
        "lora": {"name": "ink", "path": "/loras/ink", "scale": 0.5, "int_id": 3},
        "layers": 2,
        "output_format": "webp",
        "output_compression": 0,
        "return_stage_metrics": False,
        "bot_task": "t",
        "system_prompt": "s",
        "use_system_prompt": "u",
        "vae_use_slicing": True,
        "vae_use_tiling": False,
    }
    request = ImageGenerationRequest.model_validate(fields)
    assert json.loads(request.to_json()) == fields
    assert set(fields) == set(ImageGenerationRequest.model_fields)


def test_a_lora_may_be_a_value_of_its_own() -> None:
    request = ImageGenerationRequest(prompt="x", lora=Lora(name="ink", path="/loras/ink"))
    assert json.loads(request.to_json())["lora"] == {"name": "ink", "path": "/loras/ink"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", 7),
        ("n", 0),
        ("n", 11),
        ("n", None),
        ("n", True),
        ("seed", True),
        ("seed", "7"),
        ("seed", 7.0),
        ("seed", 2**63),
        ("seed", -(2**63) - 1),
        ("seed", 2**70),
        ("num_inference_steps", 0),
        ("num_inference_steps", 201),
        ("num_inference_steps", 4.0),
        ("guidance_scale", math.nan),
        ("guidance_scale", math.inf),
        ("guidance_scale", -0.1),
        ("guidance_scale", 20.1),
        ("guidance_scale", True),
        ("guidance_scale", "4"),
        ("true_cfg_scale", 20.1),
        ("flow_shift", math.nan),
        ("size", "1024X1024"),
        ("size", "1024x"),
        ("size", "0x0"),
        ("size", "-1x1"),
        ("size", "1e3x1"),
        ("size", "1000000x1"),
        ("size", "64x64\n"),
        ("size", "٦٤x٦٤"),
        ("size", "auto"),
        ("size", ""),
        ("layers", 1),
        ("layers", 11),
        ("output_format", "gif"),
        ("output_compression", -1),
        ("output_compression", 101),
        ("response_format", "url"),
        ("extra_params", {"a": {"b": [math.nan]}}),
        ("extra_params", {"a": {1, 2}}),
        ("vae_use_tiling", 1),
        ("steps", 4),
        ("extra_body", {}),
    ],
)
def test_a_value_that_the_server_would_refuse_or_ignore_is_refused_here_by_name(
    field: str, value: object
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        request_of(**{field: value})
    assert (caught.value.parameter or "").split(".")[0] == field
    assert caught.value.message.startswith(field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 10),
        ("seed", 2**63 - 1),
        ("seed", -(2**63)),
        ("num_inference_steps", 200),
        ("guidance_scale", 0),
        ("guidance_scale", 20),
        ("layers", 10),
        ("output_compression", 100),
        ("size", "99999x1"),
        ("prompt", ""),
        ("prompt", "x" * 100_000),
    ],
)
def test_the_bounds_themselves_are_accepted(field: str, value: object) -> None:
    assert json.loads(request_of(**{field: value}).to_json())[field] == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": "x"}, "seed = 'x': must be an integer. "),
        ({"seed": 1.5}, "seed = 1.5: must be an integer. "),
        ({"n": 0}, "n = 0: must be at least 1. "),
        ({"output_compression": 101}, "output_compression = 101: must be at most 100. "),
        ({"guidance_scale": "much"}, "guidance_scale = 'much': must be a number. "),
        ({"guidance_scale": float("nan")}, "guidance_scale = nan: must be a finite number. "),
        ({"negative_prompt": 7}, "negative_prompt = 7: must be text. "),
        ({"return_stage_metrics": 1}, "return_stage_metrics = 1: must be true or false. "),
        ({"extra_params": [1]}, "extra_params = [1]: must be an object with named values. "),
        ({"output_format": "gif"}, "output_format = 'gif': must be 'png', 'jpeg' or 'webp'. "),
        ({"size": (256,)}, "size = (256,): must be WIDTHxHEIGHT in pixels, such as 1024x1024. "),
        ({"image_size": 512}, "image_size is not a field of this request; did you mean size? "),
    ],
)
def test_a_refused_value_says_what_it_must_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        ImageGenerationRequest.model_validate({"prompt": "a fox", **values})
    assert str(raised.value).startswith(message)


def test_a_missing_prompt_is_named() -> None:
    with pytest.raises(InvalidParameter, match=r"^prompt is missing\. "):
        ImageGenerationRequest.model_validate({})


def test_a_size_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(
        InvalidParameter, match=r"^size = 'auto': must be WIDTHxHEIGHT in pixels, such as 1024x1024\. "
    ):
        request_of(size="auto")


@pytest.mark.parametrize("size", ["100000x1", "1024x1000000", "0x64", "064x64"])
def test_an_impossible_size_is_refused_with_the_bounds(size: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        request_of(size=size)
    assert caught.value.message == (
        f"size = {size!r}: width and height must be 1 to 99999 pixels each, such as 1024x1024"
    )


def test_a_refusal_shows_a_long_value_only_in_part() -> None:
    with pytest.raises(InvalidParameter) as caught:
        request_of(size="x" * 10_000)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"prompt": "half \ud83d"}, "prompt"),
        ({"negative_prompt": "\udc00"}, "negative_prompt"),
        ({"extra_params": {"a": "\ud83d"}}, "extra_params"),
        ({"extra_params": {"\ud83d": 1}}, "extra_params"),
        ({"lora": {"name": "\ud83d", "path": "p"}}, "lora"),
    ],
)
def test_a_lone_surrogate_is_refused_by_name(fields: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        request_of(**fields)
    assert (caught.value.parameter or "").split(".")[0] == name


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        request_of().seed = 1  # type: ignore[misc]  # the point of the test


@given(st.text(st.characters(codec="utf-8"), max_size=50))
def test_any_prompt_arrives_as_it_was_written(prompt: str) -> None:
    assert json.loads(request_of(prompt=prompt).to_json())["prompt"] == prompt


def test_a_reply_of_0_30_is_read_completely() -> None:
    reply = reply_of(
        created=1790000000,
        data=[{"b64_json": b64(b"picture"), "url": None, "revised_prompt": None}],
        output_format="png",
        size="1024x1024",
        cot_output=None,
        metrics={"stage_durations": {"stage_0_gen_ms": 1234.5, "vae": 0.25}, "peak_memory_mb": 14321.0},
    )
    assert reply == ImageGenerationReply(
        created=1790000000,
        data=(ReplyImage(bytes=b"picture"),),
        output_format="png",
        size="1024x1024",
        metrics=GenerationMetrics(
            stage_durations={"stage_0_gen_ms": 1234.5, "vae": 0.25}, peak_memory_mb=14321.0
        ),
    )
    assert reply.metrics
    assert reply.metrics.generation_seconds == 1.2345


def test_a_reply_of_0_14_has_only_images() -> None:
    reply = reply_of(created=1, data=[{"b64_json": b64(b"picture")}])
    assert (reply.output_format, reply.size, reply.metrics) == (None, None, None)


def test_no_time_is_reported_if_the_server_reports_none() -> None:
    assert GenerationMetrics().generation_seconds is None


@pytest.mark.parametrize(
    "beside",
    [
        {"metrics": "fast"},
        {"metrics": {"stage_durations": {"stage_0_gen_ms": "x"}}},
        {"size": 7},
        {"created": "yesterday"},
        {"output_format": []},
    ],
)
def test_an_unreadable_value_next_to_an_image_never_loses_the_image(beside: dict[str, object]) -> None:
    reply = reply_of(data=[{"b64_json": b64(b"paid for")}], **beside)
    assert reply == ImageGenerationReply(data=(ReplyImage(bytes=b"paid for"),))


def test_peak_memory_that_is_not_a_number_is_absent() -> None:
    content = '{"data":[{"b64_json":"YWJj"}],"metrics":{"peak_memory_mb":NaN}}'
    assert ImageGenerationReply.model_validate_json(content).metrics == GenerationMetrics()


@pytest.mark.parametrize(
    "text",
    [b64(b"x1"), "eD\nE=", b64(b"x1") + "\n", b64(b"x1") + "\r\n", "data:image/png;base64," + b64(b"x1")],
)
def test_base64_may_be_broken_into_lines_or_begin_as_a_data_url(text: str) -> None:
    assert reply_of(data=[{"b64_json": text}]).data[0].bytes == b"x1"


@pytest.mark.parametrize(
    "text",
    ["a!Gk=", "####", "YW Jj", "", "\n", "=", "data:image/png;base64,", "狐", None, 7, []],
)
def test_base64_with_junk_in_it_is_an_error_and_not_skipped(text: object) -> None:
    with pytest.raises(ValidationError, match="b64_json"):
        reply_of(data=[{"b64_json": text}])


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_returned_unchanged(data: bytes) -> None:
    reply = reply_of(data=[{"b64_json": b64(data)}])
    assert reply.data[0].bytes == data
    assert json.loads(reply.model_dump_json())["data"][0]["bytes"] == b64(data)


def test_an_image_does_not_show_its_bytes() -> None:
    assert len(repr(ReplyImage(bytes=b"x" * 10_000))) < 100


@pytest.mark.parametrize("data", [None, [], {}, "x", [None], [{}], [{"url": "http://elsewhere/x.png"}]])
def test_a_reply_without_images_is_not_a_reply(data: object) -> None:
    with pytest.raises(ValidationError):
        reply_of(data=data)


def test_models_are_read_with_their_root() -> None:
    content = json.dumps(
        {
            "object": "list",
            "data": [
                {
                    "id": "klein",
                    "root": "black-forest-labs/FLUX.2-klein-4B",
                    "owned_by": "vllm",
                    "max_model_len": None,
                },
                {"id": "alias", "root": None, "owned_by": "vllm"},
            ],
        }
    )
    assert ModelList.model_validate_json(content) == ModelList(
        data=(
            ModelCard(id="klein", root="black-forest-labs/FLUX.2-klein-4B", owned_by="vllm"),
            ModelCard(id="alias", owned_by="vllm"),
        )
    )
