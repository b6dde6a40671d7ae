"""What comes back for a successful request."""

import base64
import io
import re
import zipfile
from collections.abc import Callable

import httpx
import pytest
from PIL import Image

Ask = Callable[..., httpx.Response]


def pixels(response: httpx.Response, index: int = 0) -> bytes:
    """The colours of an image of the reply."""
    return opened(response, index).tobytes()


def opened(response: httpx.Response, index: int = 0) -> Image.Image:
    """An image of the reply, decoded."""
    assert response.status_code == 200, response.text
    content = base64.b64decode(response.json()["data"][index]["b64_json"], validate=True)
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def test_a_reply_has_every_field_and_no_other(ask: Ask) -> None:
    response = ask()
    body = response.json()
    picture = body["data"][0]["b64_json"]
    metrics = body["metrics"]
    assert body == {
        "created": body["created"],
        "data": [{"b64_json": picture, "url": None, "revised_prompt": None}],
        "output_format": "png",
        "size": "64x64",
        "cot_output": None,
        "metrics": metrics,
    }
    assert isinstance(body["created"], int)
    assert set(metrics) == {"stage_durations", "peak_memory_mb"}
    assert set(metrics["stage_durations"]) == {"queue_wait_ms", "stage_0_gen_ms"}
    assert metrics["peak_memory_mb"] > 0
    assert metrics["stage_durations"]["stage_0_gen_ms"] > 0
    assert response.headers["content-type"] == "application/json"
    assert response.headers["vary"] == "Origin"
    assert int(response.headers["content-length"]) == len(response.content)
    assert "x-request-id" not in response.headers


def test_stage_metrics_are_returned_on_request(ask: Ask) -> None:
    metrics = ask(return_stage_metrics=True).json()["metrics"]
    stage = metrics["stage_metrics"]["0"]
    assert set(metrics) == {
        *("stage_metrics", "stage_id", "final_output_type", "num_tokens_in", "num_tokens_out"),
        *("stage_durations", "peak_memory_mb"),
    }
    assert set(stage) == {
        *("stage_id", "final_output_type", "finish_reason", "num_tokens_in", "num_tokens_out"),
        *(
            "stage_gen_time_ms",
            "postprocess_time_ms",
            "audio_frames",
            "audio_sample_rate",
            "audio_duration_s",
        ),
        *("image_pixels", "denoise_step_latency_ms", "output_unit_type", "output_unit_count"),
        *("serving_time_to_first_output_ms", "image_time_to_first_output_ms", "time_per_output_unit_ms"),
        *(
            "inter_output_latency_ms",
            "inter_output_latencies_ms",
            "vllm_ttft_ms",
            "vllm_tpot_ms",
            "vllm_itl_ms",
        ),
        *("vllm_itls_ms", "stage_name"),
    }
    assert (stage["image_pixels"], stage["output_unit_type"], stage["stage_name"]) == (
        4096,
        "image",
        "diffusion",
    )


def test_the_same_request_gives_the_same_bytes(ask: Ask) -> None:
    assert ask().json()["data"] == ask().json()["data"]


def test_without_a_seed_every_image_is_different(ask: Ask) -> None:
    assert pixels(ask(seed=None)) != pixels(ask(seed=None))


@pytest.mark.parametrize(
    "changed", [{"seed": 8}, {"prompt": "a red fox "}, {"prompt": "A red fox"}, {"num_inference_steps": 2}]
)
def test_a_parameter_that_every_model_reads_changes_the_image(ask: Ask, changed: dict[str, object]) -> None:
    assert pixels(ask(**changed)) != pixels(ask())


@pytest.mark.parametrize(
    "changed",
    [
        {"user": "me"},
        {"flow_shift": 9.0},
        {"extra_params": {"a": 1}},
        {"layers": 3},
        {"system_prompt": "s"},
        {"use_system_prompt": "custom"},
        {"bot_task": "cot"},
        {"generator_device": "cpu"},
        {"vae_use_tiling": True},
        {"return_stage_metrics": True},
        {"num_steps": 3, "width": 128, "quality": "hd", "stream": True, "extra_body": {"seed": 1}},
    ],
)
def test_a_parameter_that_no_model_reads_changes_nothing(ask: Ask, changed: dict[str, object]) -> None:
    assert pixels(ask(**changed)) == pixels(ask())


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("n", "1"),
        ("seed", "7"),
        ("num_inference_steps", "3"),
        ("n", True),
        ("seed", 7.0),
        ("output_compression", "100"),
    ],
)
def test_a_number_in_another_notation_is_accepted(ask: Ask, field: str, text: object) -> None:
    assert ask(**{field: text}).json()["data"] == ask().json()["data"]


@pytest.mark.parametrize("seed", [-1, 0, 2**32, 2**63 - 1, -(2**63)])
def test_every_64_bit_seed_is_accepted(ask: Ask, seed: int) -> None:
    assert ask(seed=seed).status_code == 200


def test_omitted_steps_are_fifty(ask: Ask) -> None:
    assert pixels(ask(num_inference_steps=None)) == pixels(ask(num_inference_steps=50))


def test_guidance_counts_if_the_model_reads_it(ask: Ask, model_kind: str) -> None:
    plain = pixels(ask(guidance_scale=0))
    changed = {scale: pixels(ask(guidance_scale=scale)) != plain for scale in (1.0, 1.5)}
    assert (
        changed
        == {
            "klein": {1.0: False, 1.5: True},
            "qwen": {1.0: False, 1.5: False},
            "z-image": {1.0: True, 1.5: True},
            "other": changed,
        }[model_kind]
    )


def test_true_cfg_scale_counts_only_with_a_negative_prompt_on_qwen_image(ask: Ask, model_kind: str) -> None:
    def changes(**fields: object) -> bool:
        return pixels(ask(guidance_scale=0, **fields)) != pixels(ask(guidance_scale=0))

    reads = model_kind == "qwen"
    assert not changes(true_cfg_scale=3.0)
    assert not changes(negative_prompt="blurry", true_cfg_scale=1.0)
    assert changes(negative_prompt="blurry", true_cfg_scale=3.0) is reads
    assert changes(negative_prompt="") is reads
    default, zero, four = (
        pixels(ask(negative_prompt="blurry", true_cfg_scale=scale)) for scale in (None, 0.0, 4.0)
    )
    assert default == zero == four


def test_a_negative_prompt_counts_with_guidance_if_the_model_supports_it(ask: Ask, model_kind: str) -> None:
    one, two = (pixels(ask(guidance_scale=3.0, negative_prompt=text)) for text in ("blurry", "dark"))
    assert (one != two) is {"klein": False, "qwen": True, "z-image": True, "other": one != two}[model_kind]


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ("64x64", "64x64"),
        (" 64 x 64 ", "64x64"),
        ("0064x064", "64x64"),
        ("+64x64", "64x64"),
        ("6_4x64", "64x64"),
    ],
)
def test_a_size_is_read_as_leniently_as_python_reads_numbers(ask: Ask, asked: str, made: str) -> None:
    response = ask(size=asked)
    assert (response.json()["size"], opened(response).size) == (made, tuple(map(int, made.split("x"))))


@pytest.mark.parametrize(("asked", "made"), [("65x67", (64, 64)), ("17x31", (16, 16)), ("79x32", (64, 32))])
def test_a_size_that_is_not_a_multiple_is_floored_or_fails_depending_on_the_model(
    ask: Ask, model_kind: str, asked: str, made: tuple[int, int]
) -> None:
    response = ask(size=asked)
    if model_kind == "z-image":
        assert response.status_code == 500
        assert re.fullmatch(
            r"Image generation failed: (Height|Width) must be divisible by 16 \(got \d+\)\. "
            r"Please adjust the (height|width) to a multiple of 16\.",
            response.json()["error"]["message"],
        )
        return
    assert (opened(response).size, response.json()["size"]) == (made, "{}x{}".format(*made))


@pytest.mark.parametrize("asked", ["1x1", "8x8", "15x64"])
def test_a_size_below_the_multiple_is_raised_or_fails_depending_on_the_model(
    ask: Ask, model_kind: str, asked: str
) -> None:
    response = ask(size=asked)
    if model_kind == "klein":
        assert response.status_code == 500
        message = response.json()["error"]["message"]
        assert message.startswith("Image generation failed: max(): Expected reduction dim to be specified")
    elif model_kind == "z-image":
        assert response.status_code == 500
    else:
        assert min(opened(response).size) == 16


@pytest.mark.parametrize(
    ("asked", "reported", "sniffed"),
    [
        ("png", "png", "PNG"),
        ("PNG", "png", "PNG"),
        ("", "png", "PNG"),
        (None, "png", "PNG"),
        ("jpg", "jpg", "JPEG"),
        ("JPEG", "jpeg", "JPEG"),
        ("webp", "webp", "WEBP"),
        ("gif", "jpeg", "JPEG"),
    ],
)
def test_an_unknown_format_becomes_jpeg(ask: Ask, asked: str | None, reported: str, sniffed: str) -> None:
    response = ask(output_format=asked)
    assert (response.json()["output_format"], opened(response).format) == (reported, sniffed)


def picture_bytes(response: httpx.Response) -> int:
    """The bytes of a PNG, without those in which the simulator says what it is."""
    data = base64.b64decode(response.json()["data"][0]["b64_json"])
    at = data.find(b"iTXt") - 4
    return len(data) - (12 + int.from_bytes(data[at : at + 4]) if at >= 0 else 0)


def test_a_png_is_stored_uncompressed_unless_requested_otherwise(ask: Ask) -> None:
    plain, packed = (ask(output_compression=level) for level in (100, 45))
    assert picture_bytes(plain) == 12_420
    assert picture_bytes(packed) < 12_420
    assert pixels(plain) == pixels(packed)


def test_a_lower_quality_makes_a_smaller_jpeg(ask: Ask) -> None:
    sizes = [
        len(ask(output_format="jpeg", output_compression=level).json()["data"][0]["b64_json"])
        for level in (10, 100)
    ]
    assert sizes[0] < sizes[1]


def test_several_images_come_in_one_reply_and_differ(ask: Ask) -> None:
    response = ask(n=3)
    pictures = [pixels(response, index) for index in range(3)]
    assert len(response.json()["data"]) == len(set(pictures)) == 3


def test_the_first_of_two_images_differs_from_a_single_one(ask: Ask) -> None:
    assert pixels(ask(n=2)) != pixels(ask())


def test_ten_images_may_be_requested(ask: Ask) -> None:
    assert len(ask(n=10).json()["data"]) == 10


@pytest.mark.parametrize(
    ("asked", "extension", "media_type"),
    [
        (None, "png", "image/png"),
        ("jpeg", "jpeg", "image/jpeg"),
        ("jpg", "jpg", "image/jpeg"),
        ("webp", "webp", "image/webp"),
    ],
)
def test_in_file_mode_the_body_is_the_image(
    ask: Ask, asked: str | None, extension: str, media_type: str
) -> None:
    response = ask(response_format="file", output_format=asked)
    in_json = base64.b64decode(ask(output_format=asked).json()["data"][0]["b64_json"])
    assert response.content == in_json
    assert response.headers["content-type"] == media_type
    assert int(response.headers["content-length"]) == len(response.content)
    disposition = response.headers["content-disposition"]
    assert re.fullmatch(rf'attachment; filename="image_[0-9a-f]{{8}}\.{extension}"', disposition)


def test_several_files_come_as_a_zip(ask: Ask) -> None:
    response = ask(response_format="file", n=2, output_format="webp")
    assert response.headers["content-type"] == "application/zip"
    disposition = response.headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="images_[0-9a-f]{8}\.zip"', disposition)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == ["image_0.webp", "image_1.webp"]
        assert archive.testzip() is None


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_the_content_type_may_be_written_in_other_ways(server: httpx.Client, content_type: str) -> None:
    body = b'{"prompt": "a", "size": "64x64", "num_inference_steps": 1, "n": 11, "n": 1}'
    response = server.post("/v1/images/generations", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 200


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_the_body_may_be_in_any_unicode_encoding(server: httpx.Client, encoding: str) -> None:
    body = '{"prompt": "狐", "size": "64x64", "num_inference_steps": 1}'.encode(encoding)
    headers = {"Content-Type": "application/json"}
    assert server.post("/v1/images/generations", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize("prompt", ["狐狸🦊\u202e", "a\0b", "\u200b", "'; DROP TABLE"])
def test_any_prompt_is_drawn(ask: Ask, prompt: str) -> None:
    assert ask(prompt=prompt).status_code == 200
