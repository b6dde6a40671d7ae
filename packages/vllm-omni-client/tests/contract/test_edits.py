"""POST /v1/images/edits: what is accepted, what is refused, and what comes back."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence

import httpx
import pytest
from PIL import Image

PATH = "/v1/images/edits"
Part = tuple[str, tuple[str | None, bytes] | tuple[str, bytes, str]]
Edit = Callable[..., httpx.Response]


def picture(
    size: tuple[int, int] = (64, 64), *, colour: int = 200, mode: str = "RGB", kind: str = "PNG"
) -> bytes:
    """An image of one colour, as a file."""
    buffer = io.BytesIO()
    Image.new("L", size, colour).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def upload(content: bytes | None = None, field: str = "image") -> Part:
    return field, ("input.png", picture() if content is None else content, "image/png")


def data_url(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def refusal(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert error == {
        "message": error["message"],
        "type": error["type"],
        "param": error["param"],
        "code": response.status_code,
    }
    return response.status_code, error["message"]


def pixels(response: httpx.Response, index: int = 0) -> bytes:
    assert response.status_code == 200, response.text
    content = base64.b64decode(response.json()["data"][index]["b64_json"], validate=True)
    return Image.open(io.BytesIO(content)).tobytes()


@pytest.fixture
def edit(server: httpx.Client) -> Edit:
    """Ask for an edit of a small image in two steps, with some fields changed; None leaves a field out."""

    def edit(files: Sequence[Part] | None = None, **fields: str | None) -> httpx.Response:
        form: Mapping[str, str | None] = {"prompt": "a red fox", "num_inference_steps": "2", "seed": "7"}
        sent = {name: text for name, text in (form | fields).items() if text is not None}
        return server.post(PATH, data=sent, files=[upload()] if files is None else list(files) or None)

    return edit


def test_a_reply_has_every_field_and_no_other(edit: Edit) -> None:
    response = edit()
    body = response.json()
    assert body == {
        "created": body["created"],
        "data": [{"b64_json": body["data"][0]["b64_json"], "url": None, "revised_prompt": None}],
        "output_format": "png",
        "size": "64x64",
        "cot_output": None,
        "metrics": body["metrics"],
    }
    assert set(body["metrics"]) == {"stage_durations", "peak_memory_mb"}
    assert set(body["metrics"]["stage_durations"]) == {"queue_wait_ms", "stage_0_gen_ms"}
    assert response.headers["content-type"] == "application/json"


def test_stage_metrics_are_returned_on_request(edit: Edit) -> None:
    assert set(edit(return_stage_metrics="true").json()["metrics"]) == {
        *("stage_metrics", "stage_id", "final_output_type", "num_tokens_in", "num_tokens_out"),
        *("stage_durations", "peak_memory_mb"),
    }


def test_the_same_edit_gives_the_same_bytes(edit: Edit) -> None:
    assert edit().json()["data"] == edit().json()["data"]


@pytest.mark.parametrize("changed", [{"seed": "8"}, {"prompt": "a blue fox"}, {"num_inference_steps": "1"}])
def test_a_parameter_that_every_model_reads_changes_the_image(edit: Edit, changed: dict[str, str]) -> None:
    assert pixels(edit(**changed)) != pixels(edit())


def test_the_input_image_counts_unless_the_model_only_generates_from_text(
    edit: Edit, model_kind: str
) -> None:
    halves = Image.new("RGB", (64, 64))
    halves.paste((255, 255, 255), (32, 0, 64, 64))
    buffer = io.BytesIO()
    halves.save(buffer, "PNG")
    other = edit([upload(buffer.getvalue())])
    assert (pixels(other) != pixels(edit())) is (model_kind != "qwen")


@pytest.mark.parametrize(
    "field",
    ["user", "mask", "flow_shift", "extra_params", "background", "system_prompt", "sys_type", "quality"],
)
def test_a_parameter_that_no_model_reads_changes_nothing(edit: Edit, field: str) -> None:
    assert pixels(edit(**{field: "1"})) == pixels(edit())


@pytest.mark.parametrize(
    "field", ["model", "n", "size", "response_format", "output_format", "lora", "seed", "url", "stream"]
)
def test_an_empty_field_counts_as_omitted(edit: Edit, field: str) -> None:
    expected = 400 if field == "url" else 200
    assert edit([] if field == "url" else None, **{field: ""}).status_code == expected


def test_the_size_is_that_of_the_first_image(edit: Edit) -> None:
    sizes = [
        edit([upload(picture((96, 64)))], size=size).json()["size"]
        for size in (None, "auto", "AUTO", "32x48")
    ]
    assert sizes == ["96x64", "96x64", "96x64", "32x48"]


def test_a_size_from_an_image_is_floored_or_fails_depending_on_the_model(edit: Edit, model_kind: str) -> None:
    response = edit([upload(picture((75, 130)))])
    if model_kind == "z-image":
        assert refusal(response)[1].startswith("Image edit failed: Height must be divisible by 16 (got 130)")
    else:
        assert response.json()["size"] == "64x128"


def test_a_small_image_is_accepted_or_fails_depending_on_the_model(edit: Edit, model_kind: str) -> None:
    response = edit([upload(picture((32, 48)))])
    if model_kind == "klein":
        assert refusal(response) == (
            500,
            "Image edit failed: Image too small: 32x48. Both dimensions must be at least 64px",
        )
    else:
        assert response.json()["size"] == "32x48"


def test_a_narrow_image_is_accepted_or_fails_depending_on_the_model(edit: Edit, model_kind: str) -> None:
    response = edit([upload(picture((64, 592)))], size="64x64")
    if model_kind == "klein":
        assert refusal(response) == (
            500,
            (
                "Image edit failed: Aspect ratio too extreme: 64x592 (ratio: 9.2:1). "
                "Maximum allowed ratio is 8:1"
            ),
        )
    else:
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("asked", "reported", "magic"),
    [
        ({"output_format": "png"}, "png", b"\x89PNG"),
        ({"output_format": "jpeg"}, "jpeg", b"\xff\xd8"),
        ({"output_format": "jpg"}, "jpg", b"\xff\xd8"),
        ({"output_format": "webp"}, "webp", b"RIFF"),
        ({"output_format": "gif"}, "jpeg", b"\xff\xd8"),
        ({"output_format": "gif", "background": "transparent"}, "png", b"\x89PNG"),
    ],
)
def test_an_unknown_format_becomes_jpeg_or_png_if_transparency_is_requested(
    edit: Edit, asked: dict[str, str], reported: str, magic: bytes
) -> None:
    body = edit(**asked).json()
    assert body["output_format"] == reported
    assert base64.b64decode(body["data"][0]["b64_json"]).startswith(magic)


@pytest.mark.parametrize(("n", "made"), [("2", 2), ("11", 11), ("0", 1), ("-1", 1)])
def test_the_number_of_images_is_not_limited(edit: Edit, n: str, made: int) -> None:
    assert len(edit(n=n).json()["data"]) == made


@pytest.mark.parametrize(
    "fields",
    [
        {"num_inference_steps": "201"},
        {"guidance_scale": "25"},
        {"guidance_scale": "-1"},
        {"guidance_scale": "nan"},
        {"guidance_scale_2": "30"},
        {"true_cfg_scale": "30"},
        {"seed": "-1"},
        {"strength": "0.5"},
        {"layers": "3"},
        {"n": "1.0"},
    ],
)
def test_values_that_a_generation_would_refuse_are_accepted(edit: Edit, fields: dict[str, str]) -> None:
    assert edit(**fields).status_code == 200


@pytest.mark.parametrize("field", ["image", "image[]"])
def test_files_are_accepted_under_two_names(edit: Edit, field: str) -> None:
    assert pixels(edit([upload(field=field)])) == pixels(edit())


@pytest.mark.parametrize("field", ["url", "url[]"])
def test_data_urls_are_accepted_under_two_names(edit: Edit, field: str) -> None:
    assert pixels(edit([], **{field: data_url(picture())})) == pixels(edit())


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("RGB", "JPEG")])
def test_input_images_of_every_kind_are_accepted(edit: Edit, mode: str, kind: str) -> None:
    assert edit([upload(picture(mode=mode, kind=kind))]).status_code == 200


def test_the_model_limits_the_number_of_input_images(edit: Edit, model_kind: str) -> None:
    most = 4 if model_kind == "klein" else 1
    assert edit([upload()] * most).status_code == 200
    assert refusal(edit([upload()] * (most + 1))) == (
        400,
        "Received 5 input images. At most 4 images are supported by this model."
        if model_kind == "klein"
        else "Received multiple input images. Only a single image is supported by this model.",
    )


def test_too_many_images_are_refused_before_any_is_opened(edit: Edit) -> None:
    assert "input images" in refusal(edit([upload(b"no picture")] * 5))[1]


def test_without_an_image_the_status_is_422(server: httpx.Client, edit: Edit) -> None:
    for response in (
        edit([]),
        edit([("other", ("a.txt", b"a", "text/plain"))]),
        server.post(PATH, data={"prompt": "a"}),
    ):
        assert response.status_code == 422
        assert response.json() == {
            "error": {
                "message": "Field 'image' or 'url' is required",
                "type": "Unprocessable Entity",
                "param": None,
                "code": 422,
            }
        }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([upload(b"junk")], "Failed to open uploaded file: cannot identify image file <_io.BytesIO object>"),
        ([upload(b"")], "Failed to open uploaded file: cannot identify image file <_io.BytesIO object>"),
        (
            [upload(), upload(b"junk", "mask_image")],
            "Failed to open uploaded file: cannot identify image file <_io.BytesIO object>",
        ),
        (
            [upload(), upload(b"junk", "reference_image")],
            "Failed to open uploaded file: cannot identify image file <_io.BytesIO object>",
        ),
        ([upload(), ("mask_image", (None, b"junk"))], "Unsupported input: junk"),
        ([("url", (None, b"junk"))], "Unsupported input: junk"),
        ([("url", (None, b""))], "Unsupported input:"),
        (
            [("url", (None, b"data:image/png;base64,@@@"))],
            "Invalid base64 image: cannot identify image file <_io.BytesIO object>",
        ),
        (
            [("url", (None, b"http://127.0.0.1:9/x.png"))],
            "Failed to download image from URL http://127.0.0.1:9/x.png: All connection attempts failed",
        ),
    ],
)
def test_anything_but_a_complete_image_is_refused(edit: Edit, files: list[Part], message: str) -> None:
    assert refusal(edit(files)) == (400, message)


def test_a_truncated_image_fails_where_it_is_read(edit: Edit, model_kind: str) -> None:
    response = edit([upload(picture()[:60])])
    if model_kind == "qwen":
        assert response.status_code == 200
    else:
        assert refusal(response) == (500, "Image edit failed: image file is truncated")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"response_format": "file"}, "Only response_format 'b64_json' is supported now."),
        ({"response_format": "url"}, "Only response_format 'b64_json' is supported now."),
        ({"stream": "true"}, "stream=true is only supported for multi-stage image editing pipelines."),
        ({"lora": "{"}, "Invalid LoRA JSON string"),
        ({"lora": "[]"}, "LoRA must be a JSON object"),
        ({"lora": "null"}, "LoRA must be a JSON object"),
        ({"lora": '{"name": "a"}'}, "Invalid lora object: both name and path are required."),
        ({"layers": "1"}, "Invalid layers value 1. layers must be between 2 and 10 inclusive."),
        ({"resolution": "100"}, "Invalid resolution 100. Supported resolutions: (640, 1024)."),
        (
            {"resolution": "640", "size": "64x64"},
            (
                "Cannot specify both 'resolution' and 'size'. "
                "Use 'resolution' with size='auto', or use 'size' without 'resolution'."
            ),
        ),
        (
            {"size": "64X64"},
            (
                "Invalid size format: '64X64'. Expected format: 'WIDTHxHEIGHT' (e.g., '1024x1024'). "
                "Did you mean to use 'x' as separator?"
            ),
        ),
        ({"size": "0x0"}, "Invalid size: 0x0. Width and height must be positive integers."),
        (
            {"size": "9000x9000"},
            (
                "Requested image size 9000x9000 exceeds the maximum allowed size of 33177600 pixels. "
                "You can reduce the requested size or increase the server's --max-generated-image-size limit."
            ),
        ),
        (
            {"bot_task": "x"},
            "Unknown bot_task 'x'. Choose from: [None, 'recaption', 'think', 'think_recaption', 'vanilla']",
        ),
    ],
)
def test_a_wrong_value_is_refused(edit: Edit, fields: dict[str, str], message: str) -> None:
    assert refusal(edit(**fields)) == (400, message)


@pytest.mark.parametrize(
    ("field", "text", "error"),
    [
        (
            "n",
            "x",
            (
                "'int_parsing', 'loc': 'body.n', 'msg': 'Input should be a valid integer, unable to parse "
                "string as an integer', 'input': 'x'"
            ),
        ),
        (
            "guidance_scale",
            "x",
            (
                "'float_parsing', 'loc': 'body.guidance_scale', 'msg': 'Input should be a valid number, "
                "unable to parse string as a number', 'input': 'x'"
            ),
        ),
        (
            "stream",
            "x",
            (
                "'bool_parsing', 'loc': 'body.stream', 'msg': 'Input should be a valid boolean, unable to "
                "interpret input', 'input': 'x'"
            ),
        ),
        (
            "output_compression",
            "101",
            (
                "'less_than_equal', 'loc': 'body.output_compression', 'msg': 'Input should be less than "
                "or equal to 100', 'input': '101', 'ctx': {'le': 100}"
            ),
        ),
        (
            "output_compression",
            "-1",
            (
                "'greater_than_equal', 'loc': 'body.output_compression', 'msg': 'Input should be greater "
                "than or equal to 0', 'input': '-1', 'ctx': {'ge': 0}"
            ),
        ),
        ("prompt", None, "'missing', 'loc': 'body.prompt', 'msg': 'Field required', 'input': 'None'"),
        ("prompt", "", "'missing', 'loc': 'body.prompt', 'msg': 'Field required', 'input': 'None'"),
    ],
)
def test_a_field_that_does_not_match_the_schema_is_reported_word_for_word(
    edit: Edit, field: str, text: str | None, error: str
) -> None:
    response = edit(**{field: text})
    assert (response.status_code, response.json()) == (
        400,
        {
            "error": {
                "message": f"1 validation error:\n  {{'type': {error}}}",
                "type": "Bad Request",
                "param": f"body.{field}",
                "code": 400,
            }
        },
    )


def test_text_instead_of_a_file_is_refused(edit: Edit) -> None:
    response = edit([], image="abc")
    assert response.json()["error"]["param"] == "body.image.0"
    assert "Expected UploadFile, received: <class 'str'>" in refusal(response)[1]


def test_another_model_is_refused(edit: Edit) -> None:
    assert refusal(edit(model="no-such"))[1].startswith("Model mismatch: request specifies 'no-such' but")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": "99999999999999999999"}, "Overflow when unpacking long long"),
        ({"lora": '{"name": "a", "path": "/nowhere"}'}, "[Errno 2] No such file or directory: '<path>'"),
    ],
)
def test_a_failure_in_the_worker_is_a_500(edit: Edit, fields: dict[str, str], message: str) -> None:
    assert refusal(edit(**fields)) == (500, f"Image edit failed: {message}")


def test_invalid_steps_fail_depending_on_the_model(edit: Edit, model_kind: str) -> None:
    messages = [edit(num_inference_steps=steps) for steps in ("0", "-1")]
    if model_kind == "klein":
        assert [refusal(response)[1] for response in messages] == [
            f"Image edit failed: num_inference_steps must be positive, got {steps}" for steps in (0, -1)
        ]
    elif model_kind == "qwen":
        assert messages[0].status_code == 200
        assert refusal(messages[1])[1] == "Image edit failed: Number of samples, -1, must be non-negative."


@pytest.mark.parametrize("strength", ["2", "-1"])
def test_a_strength_out_of_range_fails_depending_on_the_model(
    edit: Edit, model_kind: str, strength: str
) -> None:
    response = edit(strength=strength)
    assert response.status_code == (200 if model_kind == "qwen" else 500)
    if model_kind == "klein":
        message = f"Image edit failed: strength must be between 0 and 1, got {float(strength)}"
        assert refusal(response) == (500, message)


def test_a_mask_is_accepted_as_a_file_or_as_a_data_url(edit: Edit, model_kind: str) -> None:
    if model_kind == "z-image":
        pytest.skip("a mask has no meaning there")
    mask = picture(colour=255, mode="L")
    as_file = edit([upload(), upload(mask, "mask_image")])
    as_url = edit(mask_image=data_url(mask))
    assert pixels(as_file) == pixels(as_url)


def test_zero_strength_with_a_mask_leaves_no_step_on_klein(edit: Edit, model_kind: str) -> None:
    response = edit([upload(), upload(picture(mode="L"), "mask_image")], strength="0")
    if model_kind == "klein":
        assert refusal(response) == (
            500,
            (
                "Image edit failed: After adjusting the num_inference_steps by strength parameter: 0.0, "
                "the number of pipelinesteps is 0 which is < 1 and not appropriate for this pipeline."
            ),
        )


def test_a_part_that_is_not_a_file_may_have_a_mebibyte(edit: Edit) -> None:
    most = 1024 * 1024
    assert edit([upload(), ("other", (None, b"A" * most))]).status_code == 200
    response = edit([upload(), ("other", (None, b"A" * (most + 1)))])
    assert (response.status_code, response.json()) == (
        400,
        {"detail": "Part exceeded maximum size of 1024KB."},
    )


def test_a_file_may_be_larger(edit: Edit) -> None:
    assert edit([upload(picture() + bytes(2 * 1024 * 1024))]).status_code == 200


@pytest.mark.parametrize(
    ("parts", "what"), [([("a", (None, b"x"))], "fields"), ([("a", ("x", b"x", "text/plain"))], "files")]
)
def test_a_thousand_parts_are_the_maximum(edit: Edit, parts: list[Part], what: str) -> None:
    response = edit(parts * 1001)
    assert (response.status_code, response.json()) == (
        400,
        {"detail": f"Too many {what}. Maximum number of {what} is 1000."},
    )


def test_a_form_without_a_boundary_is_refused_by_the_framework(server: httpx.Client) -> None:
    response = server.post(PATH, content=b"junk", headers={"Content-Type": "multipart/form-data"})
    assert (response.status_code, response.json()) == (400, {"detail": "Missing boundary in multipart."})


@pytest.mark.parametrize("request_body", [{}, {"json": {"prompt": "a"}}])
def test_anything_but_a_form_lacks_its_prompt(server: httpx.Client, request_body: dict[str, object]) -> None:
    response = server.post(PATH, **request_body)  # pyright: ignore[reportArgumentType] - one of the arguments
    assert (response.status_code, response.json()["error"]["param"]) == (400, "body.prompt")


def test_the_last_value_of_a_repeated_field_counts(edit: Edit) -> None:
    response = edit([upload(), ("n", (None, b"1")), ("n", (None, b"2"))])
    assert len(response.json()["data"]) == 2


def test_more_images_than_can_be_counted_fail_at_once(edit: Edit) -> None:
    response = edit(n="99999999999999999999")
    assert response.status_code == 500
    assert response.json()["error"]["message"].startswith("Image edit failed: ")
