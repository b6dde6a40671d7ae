"""Each endpoint is a value: what is sent, and what each reply means, without a socket."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_omni_client._protocol import endpoints
from vllm_omni_client._protocol.endpoints import read
from vllm_omni_client.errors import (
    BadReply,
    BadRequest,
    EngineDead,
    Exchange,
    LoraNotLoaded,
    NotFound,
    OmniError,
    OutOfGpuMemory,
    ServerBusy,
    ServerError,
    ServerRefused,
    Unauthorized,
)
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, Lora, ModelCard, ReplyImage

# An image of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNocFAAAAIkAOGVpLGLAAAAAElFTkSuQmCC"
)
GENERATE = endpoints.generate(ImageGenerationRequest(prompt="a red fox", seed=7))
HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title><script>alert(1)</script></head>\r\n"
    b"<body>nginx\x07</body></html>"
)


def shape_a(message: str, **more: object) -> bytes:
    return json.dumps({"error": {"message": message, "type": "x", "param": None, "code": 1, **more}}).encode()


def failure(status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> OmniError:
    with pytest.raises(OmniError) as caught:
        read(GENERATE, status, headers or {}, content)
    return caught.value


def test_a_generation_is_a_post_of_flat_json() -> None:
    assert (GENERATE.method, GENERATE.path) == ("POST", "/v1/images/generations")
    assert GENERATE.content == b'{"prompt":"a red fox","n":1,"seed":7}'
    assert GENERATE.headers == {"content-type": "application/json"}


def test_only_a_generation_with_a_seed_may_be_sent_twice() -> None:
    assert GENERATE.repeatable
    assert not endpoints.generate(ImageGenerationRequest(prompt="a red fox")).repeatable


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (endpoints.models(), "/v1/models"),
        (endpoints.health(), "/health"),
        (endpoints.version(), "/version"),
        (endpoints.server_metrics(), "/metrics"),
    ],
)
def test_the_rest_are_gets_without_a_body(call: endpoints.Call[object], path: str) -> None:
    assert (call.method, call.path, call.content, call.headers) == ("GET", path, None, {})
    assert call.repeatable


def test_an_image_is_read() -> None:
    content = json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]}).encode()
    assert read(GENERATE, 200, {}, content) == ImageGenerationReply(created=1, data=(ReplyImage(bytes=PNG),))


def test_models_health_version_and_metrics_are_read() -> None:
    assert read(endpoints.models(), 200, {}, b'{"data":[{"id":"m"}]}').data == (ModelCard(id="m"),)
    assert read(endpoints.health(), 200, {}, b"") is True
    assert read(endpoints.health(), 503, {}, HTML) is False
    assert read(endpoints.version(), 200, {}, b'{"version":"0.30.0"}') == "0.30.0"
    assert (
        read(endpoints.server_metrics(), 200, {}, b"vllm_omni:num_requests_running 2\n").requests_running == 2
    )


def test_a_server_without_a_metrics_route_reports_nothing() -> None:
    assert read(endpoints.server_metrics(), 404, {}, b'{"detail":"Not Found"}') == ServerMetrics()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (shape_a("Input should be less than or equal to 10"), "Input should be less than or equal to 10"),
        (shape_a("failed", request_id="img_gen-1", error_stage_id=0), "failed"),
        (b'{"error":"Unauthorized"}', "Unauthorized"),
        (b'{"detail":"Method Not Allowed"}', "Method Not Allowed"),
        (
            b'{"detail":[{"loc":["body","n"],"msg":"too many"},{"loc":["body","seed"],"msg":"no int"}]}',
            "body.n: too many; body.seed: no int",
        ),
        (b'{"detail":[{"msg":"alone"},7]}', "?: alone; ?: None"),
        (b'{"object":"error","message":"an older shape","code":400}', "an older shape"),
        (HTML, "'502 Bad Gateway nginx'"),
        (b"plain \x1b[31mtext\n", "'plain [31mtext'"),
        (b'"just a string"', "'\"just a string\"'"),
    ],
)
def test_every_shape_of_an_error_body_is_read(content: bytes, text: str) -> None:
    assert failure(400, content).message == f"the server answered 400: {text}"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"<br>", b"   "])
def test_an_error_without_words_still_says_something(content: bytes) -> None:
    assert failure(500, content).message == "the server answered 500, without a readable body"


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"error":' * 50_000,
        b'{"error":{"message":"\\ud800"}}',
        b"\xef\xbb\xbf{}",
        b"{}",
        b"null",
        b'{"error":null}',
        b'{"error":{"message":7}}',
        b'{"detail":{}}',
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_hostile_json_is_an_error_and_never_a_crash(content: bytes, status: int) -> None:
    error = failure(status, content)
    assert isinstance(error, ServerRefused if status >= 400 else BadReply)
    assert error.message.isprintable()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (402, ServerRefused),
        (403, Unauthorized),
        (404, NotFound),
        (405, BadRequest),
        (408, ServerRefused),
        (409, ServerRefused),
        (413, BadRequest),
        (415, BadRequest),
        (422, BadRequest),
        (429, ServerBusy),
        (500, ServerError),
        (501, ServerError),
        (502, ServerBusy),
        (503, ServerBusy),
        (504, ServerError),
        (599, ServerError),
        (600, ServerRefused),
    ],
)
def test_each_status_has_its_class(status: int, kind: type[ServerRefused]) -> None:
    error = failure(status, shape_a("why"))
    assert type(error) is kind
    assert error.status == status


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "Worker failed with error 'CUDA Out Of Memory', please check the stack trace above",
    ],
)
def test_out_of_memory_is_reported_by_its_text(text: str) -> None:
    assert type(failure(500, shape_a(text))) is OutOfGpuMemory


LORA = ImageGenerationRequest(prompt="a fox", lora=Lora(name="ink", path="/loras/ink"))


@pytest.mark.parametrize(
    "text",
    [
        "[Errno 2] No such file or directory: '/loras/ink/adapter_config.json'",
        "Image generation failed: [Errno 2] No such file or directory: '<path>'",
        "Worker failed with error '[Errno 36] File name too long: '/x/adapter_config.json'', please check",
        "Cannot find an appropriate cached snapshot folder for the specified revision on the local disk",
        "LoRA rank 128 is greater than max_lora_rank 64",
    ],
)
def test_a_lora_that_cannot_be_loaded_is_named_by_the_next_step(text: str) -> None:
    with pytest.raises(LoraNotLoaded) as caught:
        read(endpoints.generate(LORA), 500, {}, shape_a(text))
    assert caught.value.lora == "/loras/ink"
    assert caught.value.next_step.startswith("Check the LoRA /loras/ink: ")
    assert caught.value.server_state == "healthy"


def test_other_failures_of_a_request_with_a_lora_are_not_blamed_on_it() -> None:
    for text, kind in (("height must be > 0", ServerError), ("CUDA out of memory", OutOfGpuMemory)):
        with pytest.raises(ServerError) as caught:
            read(endpoints.generate(LORA), 500, {}, shape_a(text))
        assert type(caught.value) is kind
    assert type(failure(500, shape_a("no adapter_config.json"))) is ServerError


def test_out_of_memory_in_the_words_of_the_caller_is_not_a_server_fault() -> None:
    assert type(failure(400, shape_a("prompt: 'out of memory'"))) is BadRequest


@pytest.mark.parametrize(
    "text",
    [
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "EngineDeadError",
        "Diffusion engine is dead",
        "Stage 0 worker process died unexpectedly",
        "no live replica for stage 0",
    ],
)
@pytest.mark.parametrize("status", [500, 503])
def test_a_dead_engine_is_reported_by_its_text(text: str, status: int) -> None:
    assert type(failure(status, shape_a(text))) is EngineDead


@pytest.mark.parametrize(
    "text",
    [
        "Generation rejected: Engine is partially or fully asleep",
        "Height must be divisible by 16 (got 1000).",
        "Worker failed with error 'shape mismatch', please check the stack trace above for the root cause",
        "",
    ],
)
def test_other_failures_are_not_taken_for_a_dead_engine(text: str) -> None:
    assert type(failure(500, shape_a(text))) is ServerError


@pytest.mark.parametrize(
    ("status", "spent"), [(500, "yes"), (501, "no"), (504, "unknown"), (503, "no"), (400, "no")]
)
def test_a_status_says_whether_gpu_time_was_spent(status: int, spent: str) -> None:
    assert failure(status).gpu_spent == spent


def test_a_busy_server_says_for_how_long() -> None:
    error = failure(429, b"", {"retry-after": "3"})
    assert isinstance(error, ServerBusy)
    assert error.retry_after_seconds == 3.0


@pytest.mark.parametrize(
    ("headers", "content", "name"),
    [
        ({}, shape_a("x", request_id="img_gen-1"), "img_gen-1"),
        ({"x-request-id": "from-header"}, shape_a("x"), "from-header"),
        ({"x-request-id": "from-header"}, shape_a("x", request_id="img_gen-1"), "img_gen-1"),
        ({"x-request-id": "a\x1bb" * 200}, b"", "ab" * 63 + "a…"),
        ({}, shape_a("x", request_id=7), None),
    ],
)
def test_the_id_that_the_server_gave_the_request_is_kept(
    headers: dict[str, str], content: bytes, name: str | None
) -> None:
    exchange = failure(500, content, headers).exchange
    assert exchange == Exchange(method="POST", url="/v1/images/generations", status=500, request_id=name)


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://login.example/very?token=s3cret", "login.example"),
        ("/elsewhere", "another path"),
        ("", "nowhere"),
        ("http://[::1", "an invalid address"),
        ("http://me:s3cret@evil.example/", "evil.example"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_an_error_that_names_only_the_host(location: str, host: str, status: int) -> None:
    error = failure(status, b"", {"location": location})
    assert type(error) is ServerRefused
    assert error.message == f"the server answered {status}, a redirect to {host}, which is not followed"
    assert error.next_step.startswith("Set base_url to the address")


@pytest.mark.parametrize("status", [201, 202, 204, 206])
def test_a_success_other_than_200_is_not_a_reply(status: int) -> None:
    assert failure(status, b"hm").message == f"the server answered {status}, but 200 was expected: 'hm'"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (HTML, "the body is not valid JSON: '502 Bad Gateway nginx'"),
        (b"", "the body is empty"),
        (b'{"data":[{"b64_json":"AAAA', 'the body is not valid JSON: \'{"data":[{"b64_json":"AAAA\''),
        (
            b"\x89PNG\r\n\x1a\n" + bytes(1192),
            "the body is not valid JSON, with 1,200 bytes of an image or an archive instead",
        ),
        (b'{"created":1}', "data is invalid: Field required"),
        (b'{"data":null}', "data is invalid: Input should be a valid array"),
        (b'{"data":[]}', "data is empty"),
        (
            b'{"data":[{"b64_json":"a!Gk="}]}',
            "data.0.b64_json is invalid: not base64: ",
        ),
        (b'{"data":[{"b64_json":""}]}', "data.0.b64_json is empty"),
        (b"[]", "the body is invalid: Input should be an object"),
        (b'{"error":{"message":"it failed"}}', "the body contains an error: it failed"),
        (b'{"error":"Unauthorized"}', "the body contains an error: Unauthorized"),
    ],
)
def test_a_200_that_is_not_an_image_says_what_is_wrong_with_it(content: bytes, wrong: str) -> None:
    error = failure(200, content)
    assert type(error) is BadReply
    if wrong.endswith(": "):  # each decoder has words of its own
        assert error.message.startswith(f"the server answered 200, but {wrong}")
    else:
        assert error.message == f"the server answered 200, but {wrong}"


def test_a_foreign_body_is_quoted_with_at_most_200_characters() -> None:
    error = failure(200, b"x" * 10_000)
    assert error.message.count("x") == 199
    assert error.__cause__ is None
    assert error.__context__ is None


def test_metrics_that_are_not_text_are_a_bad_reply() -> None:
    with pytest.raises(BadReply, match="the body is not UTF-8"):
        read(endpoints.server_metrics(), 200, {}, b"\xff\xfe")


@pytest.mark.parametrize("call", [endpoints.models(), endpoints.version()])
@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"data":[{"id":""}]}', b'{"version":""}', b'{"version":7}', b"null"]
)
def test_half_a_reply_of_a_small_endpoint_is_a_bad_reply(
    call: endpoints.Call[object], content: bytes
) -> None:
    with pytest.raises(BadReply):
        read(call, 200, {}, content)


@given(
    st.integers(200, 599),
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "message", "detail", "data", "loc", "msg", "request_id"]),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
)
def test_any_reply_is_a_value_or_an_error_of_ours(status: int, content: bytes) -> None:
    error = failure(status, content)
    assert error.message
    assert error.message.isprintable()
