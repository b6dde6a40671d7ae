"""A client's retries come out of one budget, which successes fill again."""

from vllm_omni_client._protocol.retry import History, Policy, Stop, Wait, decide
from vllm_omni_client._protocol.retry_budget import CAPACITY, CHEAP_RETRY, COSTLY_RETRY, RESERVE, RetryBudget
from vllm_omni_client.errors import ConnectionLost, ServerBusy

POLICY = Policy(max_retries=100, timeout_seconds=60.0, repeatable=True)


def retries(error: ServerBusy | ConnectionLost, budget: RetryBudget) -> int:
    for made in range(100):
        history = History(attempts=1, healthy=True, tokens=budget.tokens)
        verdict = decide(error, policy=POLICY, history=history, jitter=0.0)
        if isinstance(verdict, Stop):
            return made
        budget.take(verdict.tokens)
    return 100


def test_a_new_client_has_four_cheap_retries_or_two_costly_ones() -> None:
    assert retries(ServerBusy("later", status=503), RetryBudget()) == 4
    assert retries(ConnectionLost("gone"), RetryBudget()) == 2
    assert (Wait(1.0).tokens, Wait(1.0, costly=True).tokens) == (CHEAP_RETRY, COSTLY_RETRY)


def test_a_caller_who_allows_more_retries_to_one_call_gets_them() -> None:
    assert retries(ServerBusy("later", status=503), RetryBudget(7)) == 7
    assert retries(ServerBusy("later", status=503), RetryBudget(30)) == 30
    assert RetryBudget(2).tokens == RESERVE


def test_a_success_pays_for_one_cheap_retry_up_to_the_capacity() -> None:
    budget = RetryBudget()
    for _ in range(100):
        budget.credit()
    assert budget.tokens == CAPACITY
    assert retries(ServerBusy("later", status=503), budget) == 10
    assert budget.tokens == 0.0
    budget.credit()
    assert retries(ServerBusy("later", status=503), budget) == 1


def test_the_budget_is_never_negative() -> None:
    budget = RetryBudget()
    budget.take(1000.0)
    assert budget.tokens == 0.0
