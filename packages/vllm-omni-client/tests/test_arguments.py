"""Both clients build a request from a prompt and keyword arguments, and correct a misspelt name."""

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest
from broken_server import BODY, PNG
from vllm_omni_client import (
    AsyncOmniClient,
    Capabilities,
    ImageEditRequest,
    ImageGenerationReply,
    ImageGenerationRequest,
    InvalidParameter,
    Lora,
    OmniClient,
    SavedImage,
)
from vllm_omni_client._arguments import CallOptions, EditValues, GenerationValues, as_request, take_options

Ask = Callable[..., Any]


class Sent:
    """What a stand-in for a server received."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, content=BODY)

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.requests[-1].content)


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, sent: Sent) -> Iterator[Ask]:
    settings: Any = {"capabilities": Capabilities(), "transport": httpx.MockTransport(sent), "api_key": "k"}
    if request.param == "sync":
        with OmniClient("http://gpu:1", headers={"X-Team": "blue"}, **settings) as client:

            def call_blocking(method: str, *given: object, **values: object) -> object:
                return getattr(client, method)(*given, **values)

            yield call_blocking
        return

    async def call(method: str, *given: object, **values: object) -> object:
        async with AsyncOmniClient("http://gpu:1", headers={"X-Team": "blue"}, **settings) as client:
            return await getattr(client, method)(*given, **values)

    yield lambda *given, **values: asyncio.run(call(*given, **values))


def test_a_prompt_and_named_fields_are_enough(ask: Ask, sent: Sent) -> None:
    reply = ask("generate_image", "a red fox", size=(1024, 768), steps=4, seed=7)
    assert isinstance(reply, ImageGenerationReply)
    wanted = {"prompt": "a red fox", "size": "1024x768", "num_inference_steps": 4, "seed": 7}
    assert wanted.items() <= sent.body.items()


def test_fields_change_a_copy_of_a_request(ask: Ask, sent: Sent) -> None:
    request = ImageGenerationRequest(prompt="a red fox", seed=7, lora=Lora(name="l", path="/l"))
    ask("generate_image", request, seed=8)
    assert (sent.body["seed"], sent.body["prompt"], sent.body["lora"]["name"]) == (8, "a red fox", "l")
    assert request.seed == 7


def test_a_file_and_fields_go_together(ask: Ask, sent: Sent, tmp_path: Path) -> None:
    saved = ask("generate_image", "a red fox", seed=7, into=tmp_path / "fox.png")
    assert isinstance(saved, SavedImage)
    assert isinstance(ask("generate_image", "a red fox", into=None), ImageGenerationReply)


def test_an_edit_takes_a_prompt_and_fields_too(ask: Ask, sent: Sent) -> None:
    ask("edit_image", "make it night", PNG, strength=0.5, size=(64, 64), steps=4)
    form = sent.requests[-1].content
    assert b"make it night" in form
    assert b"0.5" in form
    assert b"64x64" in form
    assert b'name="num_inference_steps"\r\n\r\n4\r\n' in form


def test_options_of_a_call_apply_only_to_that_call(ask: Ask, sent: Sent) -> None:
    ask(
        "generate_image", "a red fox", extra_headers={"X-Team": "red", "X-Job": "7"}, timeout=5, max_retries=0
    )
    ask("generate_image", "a red fox")
    teams = [(one.headers["x-team"], one.headers.get("x-job")) for one in sent.requests]
    assert teams == [("red", "7"), ("blue", None)]
    assert "extra_headers" not in sent.body


@pytest.mark.parametrize(
    ("values", "parameter", "said"),
    [
        ({"num_inference_step": 4}, "num_inference_step", "did you mean num_inference_steps?"),
        ({"sead": 4}, "sead", "did you mean seed?"),
        ({"cfg": 4}, "cfg", "did you mean guidance_scale?"),
        ({"stepz": 4}, "stepz", "did you mean num_inference_steps?"),
        ({"cfgscale": 4}, "cfgscale", "did you mean guidance_scale?"),
        ({"width": 4}, "width", "did you mean size?"),
        ({"headers": {}}, "headers", "did you mean extra_headers?"),
        ({"time_out": 4}, "time_out", "did you mean timeout?"),
        ({"zzz": 4}, "zzz", "Its fields: "),
        ({"steps": 4, "num_inference_steps": 4}, "steps", "steps is short for num_inference_steps"),
        ({"prompt": "another"}, "prompt", "given twice"),
        ({"steps": 0}, "num_inference_steps", "num_inference_steps = 0"),
        ({"size": (0, 64)}, "size", "1 to 99999 pixels"),
        ({"size": (64.0, 64)}, "size", "size = (64.0, 64)"),
        ({"size": (True, 64)}, "size", "size = (True, 64)"),
        ({"size": (64, 64, 3)}, "size", "size = (64, 64, 3)"),
        ({"timeout": 0}, "timeout", "timeout = 0"),
        ({"max_retries": -1}, "max_retries", "max_retries = -1"),
        ({"extra_headers": {"a b": "1"}}, "extra_headers", "not the name of a header"),
    ],
    ids=str,
)
def test_a_misspelt_name_is_reported_and_nothing_is_sent(
    ask: Ask, sent: Sent, values: dict[str, object], parameter: str, said: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        ask("generate_image", "a red fox", **values)
    assert said in caught.value.message
    assert caught.value.parameter == parameter
    assert sent.requests == []


def test_a_request_of_the_wrong_kind_is_refused(ask: Ask, sent: Sent) -> None:
    for wrong in (ImageEditRequest(prompt="x"), {"prompt": "x"}, None):
        with pytest.raises(InvalidParameter, match="is not a prompt or an ImageGenerationRequest"):
            ask("generate_image", wrong)
    assert sent.requests == []


def test_a_misspelt_name_next_to_a_request_object_is_reported_too() -> None:
    with pytest.raises(
        InvalidParameter, match="steps is not a field of this request; did you mean num_infer"
    ):
        ImageGenerationRequest.model_validate({"prompt": "x", "steps": 4})
    with pytest.raises(InvalidParameter, match="did you mean strength"):
        ImageEditRequest.model_validate({"prompt": "x", "denoising_strength": 4})


@pytest.mark.parametrize(
    ("kind", "values"), [(ImageGenerationRequest, GenerationValues), (ImageEditRequest, EditValues)]
)
def test_every_field_of_a_request_can_be_given_by_name(kind: type[Any], values: type) -> None:
    options = {*CallOptions.__annotations__, "steps"}
    assert set(get_type_hints(values)) - options == set(kind.model_fields) - {"prompt"}


@pytest.mark.parametrize("client", [OmniClient, AsyncOmniClient])
@pytest.mark.parametrize("method", ["generate_image", "edit_image"])
def test_help_names_every_value(client: type[object], method: str) -> None:
    parameters = inspect.signature(getattr(client, method)).parameters
    assert {"into", "overwrite", "steps", "size", "seed", "timeout", "extra_headers"} <= set(parameters)
    assert not [each for each in parameters.values() if each.kind is each.VAR_KEYWORD]


def test_no_header_value_stays_where_a_traceback_could_show_it() -> None:
    values = {"seed": 7, "extra_headers": {"X-Token": "CANARY"}, "timeout": None}
    options = take_options(values)
    assert options == {"extra_headers": {"X-Token": "CANARY"}}
    assert values == {"seed": 7}
    assert as_request(ImageGenerationRequest, "x", values).seed == 7


def test_replies_and_files_say_format_size_and_seed(ask: Ask, tmp_path: Path) -> None:
    reply = ask("generate_image", "a red fox", seed=7)
    assert repr(reply).startswith("ImageGenerationReply(data=(ReplyImage(format='png', size='1x1', length=")
    assert "seed=7" in repr(reply)
    assert "b64" not in repr(reply)
    saved = ask("generate_image", "a red fox", seed=7, into=tmp_path / "fox.png")
    assert repr(saved) == (
        f"SavedImage(path={str(tmp_path / 'fox.png')!r}, format='png', size='1x1', length={len(PNG)}, seed=7)"
    )
