"""POST /v1/chat/completions: pictures as the answer in a conversation."""

import base64
import io
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image

PATH = "/v1/chat/completions"
Chat = Callable[..., httpx.Response]


@pytest.fixture
def chat(server: httpx.Client) -> Chat:
    """Ask for a small picture in a conversation, with some fields changed."""

    def chat(content: object = "a red fox", **fields: object) -> httpx.Response:
        small = {"size": "64x64", "num_inference_steps": 2, "seed": 7}
        messages = [{"role": "user", "content": content}]
        return server.post(PATH, json={"messages": messages} | small | fields)

    return chat


def pictures(response: httpx.Response) -> list[bytes]:
    assert response.status_code == 200
    [choice] = response.json()["choices"]
    addresses = [part["image_url"]["url"] for part in choice["message"]["content"]]
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    return [base64.b64decode(address.partition(",")[2], validate=True) for address in addresses]


def error(response: httpx.Response) -> dict[str, Any]:
    return response.json()["error"]


def test_a_picture_comes_as_the_content_of_a_message(server: httpx.Client, chat: Chat) -> None:
    response = chat()
    [data] = pictures(response)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
    body = response.json()
    assert (body["object"], body["usage"]["prompt_tokens"]) == ("chat.completion", 3)
    assert body["model"] == server.get("/v1/models").json()["data"][0]["id"]
    assert body["choices"][0]["finish_reason"] == "stop"
    [part] = body["choices"][0]["message"]["content"]
    assert set(part["stage_durations"]) == {"queue_wait_ms", "stage_0_gen_ms"}


def test_the_same_seed_is_the_same_picture_and_another_model_is_not_minded(chat: Chat) -> None:
    assert pictures(chat()) == pictures(chat(model="no-such-model"))
    assert pictures(chat()) != pictures(chat(seed=8))


def test_options_may_stand_in_extra_body_but_not_twice(chat: Chat, server: httpx.Client) -> None:
    options = {"size": "64x64", "num_inference_steps": 2, "seed": 7}
    messages = [{"role": "user", "content": "a red fox"}]
    nested = server.post(PATH, json={"messages": messages, "extra_body": options})
    assert pictures(nested) == pictures(chat())
    response = chat(extra_body={"seed": 7})
    assert response.status_code == 400
    assert error(response) == {
        "message": "Diffusion request parameters were provided more than once:"
        ' "seed": request.seed, request.extra_body.seed.',
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }


def test_several_come_by_an_option_and_not_by_n(chat: Chat) -> None:
    assert len(pictures(chat(num_outputs_per_prompt=2))) == 2
    assert len(pictures(chat(n=2))) == 1


def test_a_picture_of_the_user_is_drawn_from_and_an_address_is_passed_over(
    chat: Chat, model_kind: str
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(buffer, "PNG")
    data_url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    text = {"type": "text", "text": "a red fox"}
    plain = pictures(chat())
    from_address = chat([text, {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}])
    assert pictures(from_address) == plain
    from_picture = pictures(chat([text, {"type": "image_url", "image_url": {"url": data_url}}]))
    assert (from_picture != plain) == (model_kind != "qwen")


@pytest.mark.parametrize(
    ("fields", "place"), [({"seed": 2**63}, "body.seed"), ({"stream": "x"}, "body.stream")]
)
def test_what_is_of_a_wrong_type_is_refused_by_its_place(
    chat: Chat, fields: dict[str, object], place: str
) -> None:
    response = chat(**fields)
    assert (response.status_code, error(response)["param"]) == (400, place)


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"messages": 1.5}, 400, "'float' object is not iterable"),
        ({"messages": None}, 400, "'NoneType' object is not iterable"),
        ({"layers": "x"}, 400, "Invalid layers value x. layers must be between 2 and 10 inclusive."),
        ({"layers": True}, 400, "Invalid layers value True. layers must be between 2 and 10 inclusive."),
        (
            {"num_outputs_per_prompt": None},
            500,
            "Image generation failed: '>' not supported between instances of 'NoneType' and 'int'",
        ),
    ],
)
def test_an_option_of_a_wrong_type_is_refused_where_it_is_first_used(
    chat: Chat, fields: dict[str, object], status: int, words: str
) -> None:
    response = chat(**fields)
    assert (response.status_code, error(response)["message"]) == (status, words)


def test_a_side_of_a_wrong_type_does_not_matter_beside_a_size(chat: Chat) -> None:
    assert pictures(chat(height="x")) == pictures(chat())


def test_a_failure_of_the_model_is_a_500_in_words_of_its_own(chat: Chat) -> None:
    response = chat(lora={"name": "style", "path": "/nowhere/style"})
    assert response.status_code == 500
    assert error(response) == {
        "message": "Image generation failed: [Errno 2] No such file or directory:"
        " '/nowhere/style/adapter_config.json'",
        "type": "BadRequestError",
        "param": None,
        "code": 500,
    }


def test_several_conversations_have_a_choice_each(server: httpx.Client) -> None:
    messages = [[{"role": "user", "content": prompt}] for prompt in ("a fox", "two words more")]
    options = {"size": "64x64", "num_inference_steps": 2, "seed": 7}
    body = server.post(f"{PATH}/batch", json={"messages": messages, **options}).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert body["usage"]["prompt_tokens"] == 5
    assert body["id"].startswith("chatcmpl-batch-")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"top_logprobs": "x"}, "`top_logprobs` must be an integer. (parameter=top_logprobs, value=x)"),
        (
            {"top_logprobs": 1},
            "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)",
        ),
        ({"tool_choice": "auto"}, "When using `tool_choice`, `tools` must be set. (parameter=tool_choice)"),
        (
            {"stream_options": {"include_usage": True}},
            "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
        ),
        ({"modalities": "image"}, 'modalities must be a list of strings, e.g. ["text", "audio", "image"]'),
        (
            {"cache_salt": ""},
            "Parameter 'cache_salt' must be a non-empty string if provided. (parameter=cache_salt)",
        ),
    ],
)
def test_the_rules_of_language_models_hold_for_a_conversation_too(
    chat: Chat, fields: dict[str, object], words: str
) -> None:
    response = chat(**fields)
    assert (response.status_code, error(response)["message"]) == (400, words)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"top_k": "x"}, "int_parsing"),
        ({"min_p": []}, "float_type"),
        ({"ignore_eos": None}, "bool_type"),
        ({"logit_bias": "x"}, "dict_type"),
        ({"tools": {}}, "list_type"),
        ({"reasoning_effort": "much"}, "literal_error"),
    ],
)
def test_the_types_of_what_is_not_used_are_minded(chat: Chat, fields: dict[str, object], kind: str) -> None:
    response = chat(**fields)
    [name] = fields
    assert (response.status_code, error(response)["param"]) == (400, f"body.{name}")
    assert f"'type': '{kind}'" in error(response)["message"]


@pytest.mark.parametrize(
    ("seed", "words"),
    [("7", "got str"), (1.5, "got float"), (True, "got bool"), ([], "got list")],
)
def test_a_seed_that_is_no_whole_number_fails_in_the_worker(
    server: httpx.Client, seed: object, words: str
) -> None:
    options = {"size": "64x64", "num_inference_steps": 2, "seed": seed}
    messages = [{"role": "user", "content": "a red fox"}]
    response = server.post(PATH, json={"messages": messages, "extra_body": options})
    assert response.status_code == 500
    assert error(response)["message"] == f"Image generation failed: manual_seed expected a long, but {words}"


def test_a_side_of_zero_is_the_models_own(chat: Chat) -> None:
    [data] = pictures(chat(size=None, width=0, height=64))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (1024, 64)


def test_a_bare_address_in_place_of_a_picture_fails(chat: Chat) -> None:
    content = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": "data:image/png;base64,AA=="},
    ]
    response = chat(content)
    assert response.status_code == 500
    assert error(response)["message"] == "Image generation failed: 'str' object has no attribute 'get'"
