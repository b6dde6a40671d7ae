"""Both clients: the same calls, the same retries, the same errors, without a socket."""

import asyncio
import base64
import json
import logging
import pickle
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import httpx
import pytest
import respx
from pydantic import SecretStr
from vllm_omni_client import (
    AsyncOmniClient,
    Capabilities,
    EngineDead,
    Exchange,
    ImageGenerationReply,
    ImageGenerationRequest,
    InvalidParameter,
    ModelCard,
    ModelList,
    OmniClient,
    OmniError,
    OutOfGpuMemory,
    ReplyImage,
    ServerBusy,
    ServerError,
    ServerMetrics,
    ServerRefused,
    Unauthorized,
)

URL = "http://gpu.example:8000"
# An image of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNocFAAAAIkAOGVpLGLAAAAAElFTkSuQmCC"
)
SECRET = "sk-unseen-4711"
SEEDED = ImageGenerationRequest(prompt="a red fox", seed=7)
SEEDLESS = ImageGenerationRequest(prompt="a red fox")
PICTURE = httpx.Response(200, json={"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]})
DRAWN = ImageGenerationReply(created=1, data=(ReplyImage(bytes=PNG),))
FAILED = httpx.Response(500, json={"error": {"message": "it failed", "request_id": "img_gen-1"}})
WELL = httpx.Response(200, json={"status": "healthy"})
ILL = httpx.Response(503, json={"status": "unhealthy"})

# Calls a method of one of the two clients: (method, arguments, what the client is made with).
Ask = Callable[..., object]


@pytest.fixture
def waits() -> list[float]:
    """How long the client waited between attempts, in seconds; nobody really waits."""
    return []


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest, waits: list[float]) -> Ask:
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)
        waits.append(seconds)

    async def ask_async(method: str, *arguments: object, **settings: object) -> object:
        settings = {
            "base_url": URL,
            "capabilities": Capabilities(),
            "jitter": lambda: 0.5,
            "sleep": sleep,
            **settings,
        }
        async with AsyncOmniClient(**settings) as client:  # type: ignore[arg-type]  # settings of a test
            return await getattr(client, method)(*arguments)

    def ask_sync(method: str, *arguments: object, **settings: object) -> object:
        settings = {
            "base_url": URL,
            "capabilities": Capabilities(),
            "jitter": lambda: 0.5,
            "sleep": waits.append,
            **settings,
        }
        with OmniClient(**settings) as client:  # type: ignore[arg-type]  # settings of a test
            return getattr(client, method)(*arguments)

    if request.param == "sync":
        return ask_sync
    return lambda *arguments, **settings: asyncio.run(ask_async(*arguments, **settings))


def failure(ask: Ask, *arguments: object, **settings: object) -> OmniError:
    with pytest.raises(OmniError) as caught:
        ask(*arguments, **settings)
    return caught.value


@pytest.fixture
def generations(respx_mock: respx.MockRouter) -> respx.Route:
    return respx_mock.post(f"{URL}/v1/images/generations")


@pytest.fixture
def models(respx_mock: respx.MockRouter) -> respx.Route:
    """The served models, which are requested after a request named the wrong one."""
    return respx_mock.get(f"{URL}/v1/models").respond(200, json={"data": [{"id": "named CANARY-key"}]})


@pytest.fixture
def health(respx_mock: respx.MockRouter) -> respx.Route:
    return respx_mock.get(f"{URL}/health")


@pytest.mark.own_key
def test_an_image_is_drawn(ask: Ask, generations: respx.Route) -> None:
    generations.mock(PICTURE)
    assert ask("generate_image", SEEDED) == DRAWN
    sent = generations.calls.last.request
    assert sent.content == b'{"prompt":"a red fox","n":1,"response_format":"b64_json","seed":7}'
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["user-agent"].startswith("vllm-omni-client/")
    assert "authorization" not in sent.headers


@pytest.mark.parametrize("key", ["s3cret", SecretStr("s3cret")])
def test_the_key_is_sent_as_a_bearer_token(
    ask: Ask, respx_mock: respx.MockRouter, key: str | SecretStr
) -> None:
    route = respx_mock.get(f"{URL}/v1/models").respond(json={"data": [{"id": "m"}]})
    assert ask("get_models", api_key=key) == ModelList(data=(ModelCard(id="m"),))
    assert route.calls.last.request.headers["authorization"] == "Bearer s3cret"


def test_an_empty_key_is_none(ask: Ask, health: respx.Route) -> None:
    health.mock(WELL)
    assert ask("health_check", api_key="") is True
    assert "authorization" not in health.calls.last.request.headers


def test_version_and_metrics_are_read(ask: Ask, respx_mock: respx.MockRouter) -> None:
    respx_mock.get(f"{URL}/version").respond(json={"version": "0.30.0"})
    respx_mock.get(f"{URL}/metrics").respond(text="vllm_omni:num_requests_waiting 3\n")
    assert ask("get_version") == "0.30.0"
    assert ask("get_metrics") == ServerMetrics(requests_waiting=3)


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_without_counters_reports_nothing(
    ask: Ask, respx_mock: respx.MockRouter, status: int
) -> None:
    respx_mock.get(f"{URL}/metrics").respond(status, text="python_info 1.0\n")
    assert ask("get_metrics") == ServerMetrics()


@pytest.mark.parametrize(("reply", "healthy"), [(WELL, True), (ILL, False)])
def test_health_is_true_or_false_and_checked_once(
    ask: Ask, health: respx.Route, reply: httpx.Response, *, healthy: bool
) -> None:
    health.mock(reply)
    assert ask("health_check") is healthy
    assert health.call_count == 1


def test_any_other_health_status_is_an_error(ask: Ask, health: respx.Route, models: respx.Route) -> None:
    health.respond(404, json={"detail": "Not Found"})
    models.respond(404, json={"detail": "Not Found"})
    assert failure(ask, "health_check").message == "the server answered 404: Not Found"
    assert health.call_count == 1


def test_a_busy_server_is_asked_again_after_the_wait_that_it_names(
    ask: Ask, generations: respx.Route, waits: list[float]
) -> None:
    generations.side_effect = [
        httpx.Response(503),
        httpx.Response(429, headers={"retry-after": "7"}),
        PICTURE,
    ]
    assert ask("generate_image", SEEDLESS) == DRAWN
    assert waits == [0.25, 7.0]


def test_a_server_that_stays_busy_ends_the_call_after_the_allowed_retries(
    ask: Ask, generations: respx.Route, waits: list[float]
) -> None:
    generations.respond(429, headers={"retry-after": "1"})
    error = failure(ask, "generate_image", SEEDED, max_retries=2, clock=lambda: 100.0)
    assert isinstance(error, ServerBusy)
    assert error.retry_after_seconds == 1.0
    assert error.exchange == Exchange(
        method="POST", url=f"{URL}/v1/images/generations", status=429, attempts=3, elapsed_seconds=0.0
    )
    assert (error.gpu_spent, waits) == ("no", [1.0, 1.0])


def test_a_wait_beyond_the_deadline_is_not_started(
    ask: Ask, generations: respx.Route, waits: list[float]
) -> None:
    generations.respond(503, headers={"retry-after": "60"})
    error = failure(ask, "generate_image", SEEDED, timeout=30.0)
    assert isinstance(error, ServerBusy)
    assert (error.retry_after_seconds, waits, generations.call_count) == (60.0, [], 1)


def test_waits_add_up_against_the_deadline(ask: Ask, generations: respx.Route, waits: list[float]) -> None:
    generations.respond(503, headers={"retry-after": "12"})
    error = failure(ask, "generate_image", SEEDED, timeout=30.0, max_retries=50, clock=lambda: sum(waits))
    assert isinstance(error, ServerBusy)
    assert waits == [12.0, 12.0]
    assert error.exchange
    assert error.exchange.elapsed_seconds == 24.0


def test_a_server_fault_is_tried_once_more_if_the_server_is_healthy(
    ask: Ask, generations: respx.Route, health: respx.Route
) -> None:
    generations.side_effect = [FAILED, PICTURE]
    health.mock(WELL)
    assert ask("generate_image", SEEDLESS) == DRAWN
    assert health.call_count == 1


def test_a_repeated_server_fault_is_raised(ask: Ask, generations: respx.Route, health: respx.Route) -> None:
    generations.mock(FAILED)
    health.mock(WELL)
    error = failure(ask, "generate_image", SEEDED, max_retries=5, clock=lambda: 0.0)
    assert type(error) is ServerError
    assert error.message == "the server answered 500: it failed"
    assert error.gpu_spent == "yes"
    assert error.exchange == Exchange(
        method="POST",
        url=f"{URL}/v1/images/generations",
        status=500,
        request_id="img_gen-1",
        attempts=2,
        generations=2,
    )


@pytest.mark.parametrize("sick", [ILL, httpx.Response(500), httpx.ConnectError("refused")])
@pytest.mark.parametrize("max_retries", [0, 2])
def test_a_server_fault_without_health_is_a_dead_engine_and_not_tried_again(
    ask: Ask,
    generations: respx.Route,
    health: respx.Route,
    sick: httpx.Response | Exception,
    max_retries: int,
) -> None:
    generations.mock(FAILED)
    health.side_effect = [sick]
    error = failure(ask, "generate_image", SEEDED, max_retries=max_retries)
    assert type(error) is EngineDead
    assert error.message == "the server answered 500: it failed (and /health does not return 200)"
    assert type(error.__cause__) is ServerError
    assert generations.call_count == 1


def test_out_of_memory_is_never_tried_again(ask: Ask, generations: respx.Route) -> None:
    generations.respond(500, json={"error": {"message": "CUDA out of memory. Tried to allocate 2.00 GiB"}})
    assert type(failure(ask, "generate_image", SEEDED)) is OutOfGpuMemory
    assert generations.call_count == 1


@pytest.mark.parametrize("status", [307, 400, 401, 404, 405, 409, 413, 415, 422])
def test_an_error_of_the_caller_is_never_retried(
    ask: Ask, generations: respx.Route, models: respx.Route, status: int
) -> None:
    generations.respond(status, json={"error": {"message": "no"}})
    assert isinstance(failure(ask, "generate_image", SEEDED), ServerRefused)
    assert generations.call_count == 1


UNKNOWN = [
    httpx.Response(502, text="bad gateway"),
    httpx.Response(200, text="<html>login</html>"),
    httpx.Response(200, json={"data": []}),
    httpx.ReadError(""),
    httpx.RemoteProtocolError("peer closed connection"),
    httpx.ReadTimeout("slow"),
]


@pytest.mark.parametrize("unknown", UNKNOWN, ids=str)
def test_an_unknown_outcome_with_a_seed_is_sent_again_once_to_a_server_that_is_well(
    ask: Ask, generations: respx.Route, health: respx.Route, unknown: httpx.Response | Exception
) -> None:
    health.mock(WELL)
    generations.side_effect = [unknown, PICTURE]
    assert ask("generate_image", SEEDED) == DRAWN
    generations.side_effect = [unknown, unknown, PICTURE]
    error = failure(ask, "generate_image", SEEDED, max_retries=5)
    assert error.exchange
    assert (error.exchange.attempts, error.gpu_spent) == (2, "unknown")


def seeds(route: respx.Route) -> list[int]:
    """The seeds that were sent."""
    calls = cast("list[respx.models.Call]", list(route.calls))
    return [json.loads(call.request.content)["seed"] for call in calls]


@pytest.mark.parametrize("unknown", UNKNOWN, ids=str)
def test_a_request_without_a_seed_is_sent_again_with_the_one_that_was_drawn(
    ask: Ask, generations: respx.Route, health: respx.Route, unknown: httpx.Response | Exception
) -> None:
    generations.side_effect = [unknown, PICTURE]
    health.mock(WELL)
    reply = ask("generate_image", SEEDLESS)
    assert isinstance(reply, ImageGenerationReply)
    assert seeds(generations) == [reply.seed] * 2
    assert reply.receipt
    assert (reply.receipt.requested, reply.receipt.sent.seed) == (SEEDLESS, reply.seed)


def test_drawn_seeds_differ(ask: Ask, generations: respx.Route) -> None:
    generations.mock(PICTURE)
    for _ in range(8):
        ask("generate_image", SEEDLESS)
    assert len(set(seeds(generations))) == 8
    assert all(0 < seed < 2**32 for seed in seeds(generations))


@pytest.mark.parametrize("unknown", UNKNOWN[1:], ids=str)
def test_an_unknown_outcome_is_not_sent_again_to_an_unhealthy_server(
    ask: Ask, generations: respx.Route, health: respx.Route, unknown: httpx.Response | Exception
) -> None:
    generations.side_effect = [unknown]
    health.mock(ILL)
    assert not isinstance(failure(ask, "generate_image", SEEDED), ServerError)
    assert generations.call_count == 1


@pytest.mark.parametrize(
    "unsent",
    [
        httpx.WriteTimeout(""),
        httpx.PoolTimeout(""),
        httpx.ConnectTimeout(""),
        httpx.ConnectError(""),
        httpx.ProxyError("407"),
    ],
)
def test_what_was_never_sent_is_sent_again_without_a_seed(
    ask: Ask, generations: respx.Route, unsent: Exception
) -> None:
    generations.side_effect = [unsent, unsent, PICTURE]
    assert ask("generate_image", SEEDLESS) == DRAWN


def test_a_path_before_the_routes_is_kept(ask: Ask, respx_mock: respx.MockRouter) -> None:
    respx_mock.get("https://proxy.example/omni/version").respond(json={"version": "0.30.0"})
    assert ask("get_version", base_url="https://proxy.example/omni/v1/") == "0.30.0"


@pytest.mark.parametrize("make", [AsyncOmniClient, OmniClient])
def test_a_client_shows_its_address_and_not_its_key(make: type[AsyncOmniClient] | type[OmniClient]) -> None:
    client = make("http://localhost:6655/v1", api_key="CANARY-key")
    assert client.base_url == "http://localhost:6655"
    assert repr(client) == f"{make.__name__}('http://localhost:6655')"
    assert "CANARY" not in repr(vars(client))


@pytest.mark.parametrize("make", [AsyncOmniClient, OmniClient])
@pytest.mark.parametrize(
    ("settings", "parameter"),
    [
        ({"base_url": "localhost:6655"}, "base_url"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"timeout": "30"}, "timeout"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"connect_timeout": None}, "connect_timeout"),
        ({"read_timeout": -1}, "read_timeout"),
        ({"read_timeout": float("inf")}, "read_timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 101}, "max_retries"),
        ({"max_retries": True}, "max_retries"),
        ({"max_retries": None}, "max_retries"),
        ({"max_retries": 2.5}, "max_retries"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_connections": 10_001}, "max_connections"),
        ({"max_connections": None}, "max_connections"),
        ({"api_key": 7}, "api_key"),
        ({"api_key": "CANARY key"}, "api_key"),
        ({"api_key": "CANARY\nkey"}, "api_key"),
        ({"api_key": "CANARYé"}, "api_key"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_name(
    make: Callable[..., object], settings: dict[str, object], parameter: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        make(**{"base_url": URL, **settings})
    assert caught.value.parameter == parameter
    assert "CANARY" not in caught.value.message


@pytest.mark.parametrize("make", [AsyncOmniClient, OmniClient])
@pytest.mark.parametrize("settings", [{"api_key": SECRET + " "}, {"timeout": -1}, {"base_url": "nowhere"}])
def test_no_frame_of_a_client_that_was_refused_shows_the_key(
    make: Callable[..., object], settings: dict[str, object]
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        make(**{"base_url": URL, "api_key": SECRET, **settings})
    below = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack[1:]
    assert below
    assert not [(frame.name, frame.locals) for frame in below if SECRET in str(frame.locals)]


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(401, json={"error": "no such key: CANARY-key"}),
        httpx.Response(400, json={"error": {"message": "x" * 490 + " Bearer CANARY-key"}}),
        httpx.Response(500, text="trace: authorization=Bearer CANARY-key"),
        httpx.Response(200, text="you sent CANARY-key"),
        httpx.Response(307, headers={"location": "http://CANARY-key.example/"}),
        httpx.Response(404, headers={"x-request-id": "CANARY-key"}),
        httpx.Response(
            400, json={"detail": "Model mismatch: request specifies 'a' but server is running 'CANARY-key'."}
        ),
        httpx.Response(200, headers={"content-encoding": "CANARY-key"}),
        httpx.ReadError("broken"),
    ],
    ids=str,
)
def test_the_key_is_in_no_error_and_in_no_log_even_when_the_server_repeats_it(
    ask: Ask,
    generations: respx.Route,
    health: respx.Route,
    reply: httpx.Response | Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    generations.side_effect = [reply]
    health.mock(ILL)
    error = failure(ask, "generate_image", SEEDED, api_key="CANARY-key", max_retries=0)
    shown = [
        error.message,
        repr(error),
        repr(error.exchange),
        caplog.text,
        *traceback.format_exception(error),
    ]
    assert "canary" not in "".join(shown).lower()
    assert b"canary" not in pickle.dumps(error).lower()


def test_an_error_that_repeats_the_key_is_still_classified(ask: Ask, generations: respx.Route) -> None:
    generations.respond(401, json={"error": "no such key: CANARY-key"})
    error = failure(ask, "generate_image", SEEDED, api_key="CANARY-key")
    assert type(error) is Unauthorized
    assert error.message == "the server answered 401: no such key: [api key]"


async def test_a_closed_client_says_so() -> None:
    client, blocking = AsyncOmniClient(URL), OmniClient(URL)
    await client.aclose()
    blocking.close()
    with pytest.raises(InvalidParameter, match="closed"):
        await client.health_check()
    with pytest.raises(InvalidParameter, match="closed"):
        blocking.health_check()


async def test_simultaneous_calls_do_not_disturb_the_retries_of_each_other(generations: respx.Route) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        seed = int(json.loads(request.content)["seed"])
        seen[seed] = seen.get(seed, 0) + 1
        return PICTURE if seen[seed] > seed % 3 else httpx.Response(503)

    seen: dict[int, int] = {}
    generations.side_effect = answer
    requests = [ImageGenerationRequest(prompt="x", seed=seed) for seed in range(12)]
    async with (
        AsyncOmniClient(URL, jitter=lambda: 0.0, capabilities=Capabilities()) as client,
        asyncio.timeout(10),
    ):
        replies = await asyncio.gather(*(client.generate_image(request) for request in requests))
    assert replies == [DRAWN] * 12
    assert seen == {seed: seed % 3 + 1 for seed in range(12)}


Message = MutableMapping[str, Any]  # as ASGI has it


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """A server in this process that says which path was asked, and breaks on /metrics."""
    if scope["path"] == "/metrics":
        raise RuntimeError("a bug in the application")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps({"version": scope["path"]}).encode()})


async def test_an_application_in_this_process_needs_no_port() -> None:
    async with AsyncOmniClient.in_process(application) as client:
        assert client.base_url == "http://simulator"
        assert await client.get_version() == "/version"


async def test_a_bug_in_an_application_in_this_process_is_a_500() -> None:
    async with AsyncOmniClient.in_process(application, max_retries=0) as client:
        with pytest.raises(ServerError, match="500"):
            await client.get_metrics()
