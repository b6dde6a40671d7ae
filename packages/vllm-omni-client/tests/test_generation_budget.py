"""An image costs two requests at most, whatever a server does; counted where the requests arrive."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from vllm_omni_client import (
    AsyncOmniClient,
    Capabilities,
    ImageEditRequest,
    ImageGenerationReply,
    ImageGenerationRequest,
    OmniClient,
    OmniError,
)
from vllm_omni_client.errors import BadReply, ConnectionLost, ServerBusy, ServerError
from vllm_omni_client.generation_budget import GenerationBudget

Misbehave = Callable[..., Any]
Draw = Callable[..., ImageGenerationReply]

PROMPT = "a fox"
REQUEST = ImageGenerationRequest(prompt=PROMPT, size="64x64", seed=7)
DEADLINE_SECONDS = 60


def patience_with(fault: str) -> float | None:
    """The read timeout: short only if the server is silent."""
    return 0.3 if fault == "silence" else None


@pytest.fixture(params=["async", "async over a used connection", "sync"])
def draw(request: pytest.FixtureRequest) -> Draw:
    """Ask one of the two clients for an image."""
    settings = {"timeout": 20.0, "jitter": lambda: 0.0, "capabilities": Capabilities()}

    async def in_async(url: str, **more: object) -> object:
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            AsyncOmniClient(url, **{**settings, **more}) as client,  # type: ignore[arg-type]  # of a test
        ):
            if "used" in request.param:
                await client.health_check()
            return await client.generate_image(REQUEST)

    def ask(url: str, **more: object) -> object:
        if request.param != "sync":
            return asyncio.run(in_async(url, **more))
        with OmniClient(url, **{**settings, **more}) as client:  # type: ignore[arg-type]  # of a test
            return client.generate_image(REQUEST)

    return ask  # type: ignore[return-value]  # a reply, as no file was asked for


def test_a_request_that_may_have_cost_is_sent_twice_at_most_and_all_attempts_are_reported(
    draw: Draw, misbehave: Misbehave, costly_fault: str
) -> None:
    server = misbehave(costly_fault)
    with pytest.raises(OmniError) as caught:
        draw(server.url, max_retries=5, read_timeout=patience_with(costly_fault))
    assert server.generations[PROMPT] == 2
    exchange = caught.value.exchange
    assert exchange
    assert (exchange.attempts, exchange.generations, len(caught.value.failures)) == (2, 2, 1)
    assert caught.value.gpu_spent != "no"


def test_a_second_request_that_succeeds_is_reported_in_the_receipt(
    draw: Draw, misbehave: Misbehave, costly_fault: str, image_bytes: bytes
) -> None:
    server = misbehave(costly_fault, times=1)
    reply = draw(server.url, read_timeout=patience_with(costly_fault))
    assert reply.data[0].bytes == image_bytes
    assert reply.receipt
    assert (server.generations[PROMPT], reply.receipt.attempts) == (2, 2)


def test_a_request_that_would_fail_again_or_still_runs_is_sent_once(
    draw: Draw, misbehave: Misbehave, final_fault: str
) -> None:
    server = misbehave(final_fault)
    with pytest.raises(OmniError) as caught:
        draw(server.url, max_retries=5)
    assert server.generations[PROMPT] == 1
    assert caught.value.outcome == "final"
    assert caught.value.exchange
    assert caught.value.exchange.attempts == 1


def test_a_refused_request_is_sent_again_as_often_as_allowed_and_costs_nothing(
    draw: Draw, misbehave: Misbehave, refusal: str
) -> None:
    server = misbehave(refusal)
    with pytest.raises(OmniError) as caught:
        draw(server.url, max_retries=2)
    assert server.generations[PROMPT] == 3
    assert caught.value.exchange
    assert (caught.value.exchange.attempts, caught.value.exchange.generations) == (3, 0)
    assert caught.value.gpu_spent == "no"


async def test_an_idle_connection_that_breaks_on_reuse_is_replaced_at_once_and_reported(
    misbehave: Misbehave,
) -> None:
    server = misbehave("an empty reply", times=1)
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        AsyncOmniClient(server.url, capabilities=Capabilities(), max_retries=0) as client,
    ):
        await client.health_check()
        reply = await client.generate_image(REQUEST)
    assert reply.receipt
    assert [failure.error for failure in reply.receipt.failures] == ["ConnectionLost"]
    assert reply.receipt.failures[0].waited_seconds == 0.0
    assert server.generations[PROMPT] == 2


async def test_two_clients_that_share_a_budget_send_no_more_than_one_would(misbehave: Misbehave) -> None:
    server = misbehave("an empty reply")
    budget = GenerationBudget()
    failures: list[ConnectionLost] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        for _ in range(2):
            async with AsyncOmniClient(server.url, capabilities=Capabilities(), max_retries=0) as client:
                with pytest.raises(ConnectionLost) as caught:
                    await client.with_budget(budget).generate_image(REQUEST)
            failures.append(caught.value)
    assert (server.generations[PROMPT], budget.left, budget.spent) == (2, 0, 2)
    assert failures[-1].exchange
    assert (failures[-1].exchange.attempts, failures[-1].exchange.generations) == (2, 2)
    assert [failure.error for failure in failures[-1].failures] == ["ConnectionLost"]


def test_two_blocking_clients_that_share_a_budget_send_no_more_than_one_would(misbehave: Misbehave) -> None:
    server = misbehave("an empty reply")
    budget = GenerationBudget()
    failures: list[ConnectionLost] = []
    for _ in range(2):
        client = OmniClient(server.url, capabilities=Capabilities(), max_retries=0)
        with client, pytest.raises(ConnectionLost) as caught:
            client.with_budget(budget).generate_image(REQUEST)
        failures.append(caught.value)
    assert (server.generations[PROMPT], budget.left, budget.spent) == (2, 0, 2)
    assert [failure.error for failure in failures[-1].failures] == ["ConnectionLost"]


def test_a_blocking_edit_spends_from_the_budget_of_its_image(
    misbehave: Misbehave, image_bytes: bytes
) -> None:
    server = misbehave("500")
    budget = GenerationBudget(left=1)
    client = OmniClient(server.url, capabilities=Capabilities())
    with client, pytest.raises(ServerError):
        client.with_budget(budget).edit_image(ImageEditRequest(prompt="a fox", seed=7), image_bytes)
    assert (server.generations[PROMPT], budget.left) == (1, 0)


def test_a_budget_counts_the_retries_of_another_client() -> None:
    budget = GenerationBudget()
    error = ServerError("x", status=500)
    budget.start_attempt(lambda: 0.0)
    budget.record_failure(error, 0.0, cost=error.gpu_spent)
    assert (budget.attempts, budget.spent, budget.left) == (1, 1, 1)
    budget.start_attempt(lambda: 2.5)
    budget.record_failure(ServerBusy("y", status=429), 3.0, cost="no")
    assert (budget.attempts, budget.spent, budget.left) == (2, 1, 1)
    assert [(failure.error, failure.waited_seconds) for failure in budget.failures] == [("ServerError", 2.5)]


def test_one_attempt_is_charged_once() -> None:
    budget = GenerationBudget()
    budget.start_attempt(lambda: 0.0)
    budget.charge("unknown")
    budget.record_failure(BadReply("x"), 0.0, cost="unknown")
    assert (budget.spent, budget.left, budget.gpu_spent) == (1, 1, "unknown")
